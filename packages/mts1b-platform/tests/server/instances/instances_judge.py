"""Instances that book orders in one database while something goes wrong, and the judge of what they have booked.

The judge knows which orders were stored: none may be missing, none booked twice, and those of each fund are booked in
order. How long nobody booked anything is measured by the way.
"""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import js_api

from .instance_child import FUNDS, read

CHILD = Path(__file__).with_name("instance_child.py")
TAKEOVER = 1.0
RATE = 150
WAIT = 60.0
AHEAD = 100
"""Orders that may wait to be booked before the producer waits."""


class Books:
    """The database that the instances write to."""

    def __init__(self, where: str) -> None:
        self.where = where
        number = "BIGSERIAL" if "://" in where else "INTEGER"
        self._run(
            f"CREATE TABLE effects (id {number} PRIMARY KEY, fund TEXT, number INTEGER, who TEXT, term BIGINT, "
            "at DOUBLE PRECISION)"
        )

    def rows(self) -> list[tuple[str, int, str, int, float]]:
        """What was booked, in the order of booking."""
        return self._run("SELECT fund, number, who, term, at FROM effects ORDER BY id")

    def count(self) -> int:
        """How many orders are booked."""
        return self._run("SELECT count(*) FROM effects")[0][0]

    def _run(self, statement: str) -> list[Any]:
        if "://" in self.where:
            with psycopg.connect(self.where, autocommit=True) as connection:
                found = connection.execute(statement.encode())
                return found.fetchall() if found.description else []
        with closing(sqlite3.connect(self.where, timeout=30)) as file, file:
            file.execute("PRAGMA journal_mode=WAL")
            rows = file.execute(statement).fetchall()
        file.close()
        return rows


class Desk:
    """The instances, the orders that come, and the judge."""

    def __init__(self, instances: str, bus: EventBus, url: str, books: Books, *, takeover: float = TAKEOVER) -> None:
        self.instances = instances
        self._takeover = takeover
        self._bus, self._url, self.books = bus, url, books
        self.stored: list[tuple[str, int]] = []
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.measured: dict[str, float] = {}
        self.enough = False
        self._here: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    async def publish(self) -> None:
        """An order every so often, until there are enough; noted when it is stored."""
        began = time.monotonic()
        while not self.enough:
            number = len(self.stored)
            fund = FUNDS[number % len(FUNDS)]
            order: Order = ORDER.model_copy(
                update={"order_id": f"order-{number}", "idempotency_key": str(number), "fund_id": fund}
            )
            await self._bus.emit(OMS_ORDERS_CREATED, order, deadline=WAIT)
            self.stored.append((fund, number))
            while number % AHEAD == 0 and number - self.books.count() > AHEAD and not self.enough:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a machine that does other things too books more slowly
            await asyncio.sleep(max(0.0, began + len(self.stored) / RATE - time.monotonic()))

    async def join(self, name: str) -> None:
        """A further instance; returns when it reads."""
        made = self.processes[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            *(CHILD, self.instances, name, self._url, self.books.where, str(self._takeover)),
            stdout=subprocess.PIPE,
        )
        assert made.stdout is not None
        assert await asyncio.wait_for(made.stdout.readline(), WAIT) == b"reads\n"

    async def join_here(self, name: str) -> None:
        """A further instance, in this process; returns when it reads."""
        reads, stop = asyncio.Event(), asyncio.Event()
        reading = read(self.instances, name, self._url, self.books.where, self._takeover, reads=reads.set, stop=stop)
        self._here.append((stop, asyncio.create_task(reading)))
        await asyncio.wait_for(reads.wait(), WAIT)

    async def goes_on(self, what: str) -> None:
        """Measure how long it takes until something is booked again, and wait for more."""
        began = time.time()
        await self.booked(30)
        self.measured[what] = min(row[4] for row in self.books.rows() if row[4] > began) - began

    async def booked(self, more: int) -> None:
        """Wait until so many more orders are booked."""
        wanted = self.books.count() + more
        async with asyncio.timeout(WAIT):
            while self.books.count() < wanted:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.05)

    @property
    def active(self) -> str:
        """Who booked last."""
        return self.books.rows()[-1][2]

    async def hand_over(self, what: str, number: signal.Signals) -> str:
        """Send an instance that books a signal, and wait until others book for its funds; who it was."""
        last = self.books.rows()[-2 * len(FUNDS) :]
        old = last[-1][2]
        funds = {fund for fund, _, who, *_ in last if who == old}
        began = time.time()
        self.processes[old].send_signal(number)
        first: dict[str, float] = {}
        async with asyncio.timeout(WAIT):
            while first.keys() < funds:
                await asyncio.sleep(0.05)
                for fund, _, who, _, at in self.books.rows():
                    if fund in funds and at > began and who != old:
                        first.setdefault(fund, at)
        self.measured[what] = max(first.values()) - began
        return old

    async def settle(self) -> None:
        """Wait until every order that was stored is booked and acknowledged, and end the instances."""
        until, left = time.monotonic() + WAIT, {}
        while time.monotonic() < until:
            infos = (await js_api(self._bus, "CONSUMER.LIST.OMS_ORDERS", timeout=WAIT))["consumers"]
            left = {info["name"]: info for info in infos if info["num_pending"] + info["num_ack_pending"]}
            if not left and infos:
                return await self.end()
            await asyncio.sleep(0.05)
        raise AssertionError(f"not booked within {WAIT:g} s: {left}")

    async def end(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        await asyncio.wait_for(asyncio.gather(*(each.wait() for each in self.processes.values())), WAIT)
        for stop, _ in self._here:
            stop.set()
        await asyncio.wait_for(asyncio.gather(*(reading for _, reading in self._here)), WAIT)

    def judge(self) -> None:
        """Nothing is lost, nothing doubled, each fund in order, and terms never go back."""
        rows = self.books.rows()
        booked = [(fund, number) for fund, number, *_ in rows]
        assert sorted(booked) == sorted(self.stored)
        funds: dict[str, list[int]] = defaultdict(list)
        for fund, number in booked:
            funds[fund].append(number)
        assert all(numbers == sorted(numbers) for numbers in funds.values())
        terms: dict[str, list[int]] = defaultdict(list)
        for fund, _, _, term, _ in rows:
            terms[fund].append(term)
        assert all(each == sorted(each) for each in terms.values())


Outage = Callable[[Desk], Awaitable[None]]


async def run(
    instances: str,
    bus: EventBus,
    url: str,
    books: Books,
    faults: list[str],
    outages: Mapping[str, Outage],
    *,
    takeover: float = TAKEOVER,
) -> Desk:
    """Three instances and what happens to them, in this order; judged at the end.

    Args:
        instances: how they share the work.
        bus: publishes the orders.
        url: where the instances find the server, or several.
        books: their database.
        faults: ``leaves``, ``killed``, ``frozen`` or ``woken``, of who books, or a name in ``outages``.
        outages: what happens to servers.
    """
    desk = Desk(instances, bus, url, books, takeover=takeover)
    publishing = asyncio.create_task(desk.publish())
    try:
        await asyncio.gather(*(desk.join(name) for name in ("a", "b", "c")))
        await desk.booked(30)
        for number, fault in enumerate(faults):
            match fault:
                case "leaves":
                    await desk.hand_over(fault, signal.SIGTERM)
                case "killed":
                    await desk.hand_over(fault, signal.SIGKILL)
                case "frozen":
                    old = await desk.hand_over(fault, signal.SIGSTOP)
                    await desk.booked(30)
                    desk.processes[old].send_signal(signal.SIGCONT)
                case "woken":
                    old = desk.active
                    desk.processes[old].send_signal(signal.SIGSTOP)
                    await asyncio.sleep(takeover + 1)
                    desk.processes[old].send_signal(signal.SIGCONT)
                case _:
                    await outages[fault](desk)
            await desk.booked(30)
            if fault in ("killed", "leaves") and number < len(faults) - 1:
                await desk.join(f"another-{number}")
        desk.enough = True
        await publishing
        await desk.settle()
    finally:
        publishing.cancel()
        await desk.end()
    desk.judge()
    print(f"\n{len(desk.stored)} orders, hand-over in s: {desk.measured}")
    return desk
