"""A soak from beginning to end: buses that work, faults, looks at the books in between, and the judgement."""

import asyncio
import random
import ssl
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import nats
from mts1b_deploy.permissions import ADMIN
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus, RetryPolicy, apply_streams, connect, wait_for_jetstream
from mts1b_platform.eventbus.consumers import declared_streams
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers
from nats.js.api import AckPolicy, ConsumerConfig
from soak_clients import Clients, Times
from soak_faults import BACK_WITHIN, HARMLESS, LARGE, Faults
from soak_gate import Gate
from soak_leaks import Held, Listening, held
from soak_nodes import DURABLES, NAMES, ORDERED, PATIENCE, PLAIN, READER, Nodes, until
from soak_orders import Orders
from soak_questions import SUBJECT, Questions, answer
from soak_quotes import Ear, Feed
from soak_wires import NamedNetwork

STREAM: Final = "OMS_ORDERS"
_CALM: Final = 2.0
_FLOW: Final = 24
"""Orders that are seen through after each fault."""
_WINDOW: Final = 200
"""Quotes, all of which arrive, at each look at the books."""
_BETWEEN_LOOKS: Final = 4
"""Faults."""
_FEED, _ITERATES, _CALLED = "feed", "listens by iterating", "listens by callback"


@dataclass(slots=True)
class Figures:
    """What a soak has found."""

    seconds: float = 0.0
    times: dict[str, Times] = field(default_factory=dict[str, Times])
    reconnects: int = 0
    looks: list[Held] = field(default_factory=list[Held])
    orders: dict[str, float] = field(default_factory=dict[str, float])
    quotes: dict[str, int] = field(default_factory=dict[str, int])
    questions: Counter[str] = field(default_factory=Counter[str])
    warnings: Counter[str] = field(default_factory=Counter[str])
    complaints: list[str] = field(default_factory=list[str])


class Soak:
    """One run.

    Args:
        directory: where servers and certificates live.
        seconds: how long faults go on.
        seed: of the order of faults and of what is hit; timing is never repeated exactly.
        warm_up: faults before the memory is measured that later ones may not exceed.
    """

    def __init__(self, directory: Path, *, seconds: float, seed: int, warm_up: int) -> None:
        self._directory = directory
        self._seconds = seconds
        self._chance = random.Random(seed)  # noqa: S311 - repeats a plan
        self._warm_up = warm_up
        self._gate = Gate()
        self._orders = Orders(3 * seconds + 600, self._gate)
        self._feed = Feed(3 * seconds + 600, self._gate)
        self._questions = Questions(self._gate)
        self._clients = Clients()
        self._ears: list[Ear] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._warm: Held | None = None
        self.figures = Figures()

    async def carry_out(self) -> Figures:
        """Run it; what went wrong is among the figures."""
        began, figures = time.monotonic(), self.figures
        said = Listening()
        said.attach()
        tasks_before = len(asyncio.all_tasks())
        try:
            async with Nodes(self._directory) as nodes, AsyncExitStack() as opened:
                opened.push_async_callback(self._end)
                await self._set_up(nodes, opened)
                await self._go_wrong(nodes)
                await self._judge(nodes)
            if (left := len(asyncio.all_tasks())) != tasks_before:
                self._complain(f"{left - tasks_before} tasks are left at the end: {asyncio.all_tasks()}")
        except Exception as error:  # noqa: BLE001 - the figures so far are worth having
            self._complain(f"ended early by {type(error).__name__}: {error}")
        finally:
            said.detach()
        figures.seconds = time.monotonic() - began
        figures.warnings = said.warnings
        figures.complaints += [f"logged as an error: {each}" for each in said.errors]
        return figures

    # The load.

    async def _set_up(self, nodes: Nodes, opened: AsyncExitStack) -> None:
        admin = await self._connect(nodes, ADMIN, "admin")
        await wait_for_jetstream(admin)
        await apply_streams(
            admin, profile="production", streams=[each for each in declared_streams() if each.name == STREAM]
        )
        await apply_consumers(admin, DURABLES)
        await admin.close()

        async def client(name: str, service: str) -> EventBus:
            bus = await self._connect(nodes, service, name)
            await js_api(bus, "STREAM.NAMES")  # the first question opens the inbox for answers
            return self._clients.add(name, bus)

        emits, bulks = await client("emits", "mts1b-oms"), await client("emits many", "mts1b-oms")
        await client(LARGE, "mts1b-oms")
        reads, in_order = await client("reads", READER), await client("reads in order", READER)
        feed = await client(_FEED, "mts1b-marketdata")
        iterates, called = await client(_ITERATES, "mts1b-brokers"), await client(_CALLED, "mts1b-brokers")
        asks, answers = await client("asks", "mts1b-research"), await client("answers", "mts1b-marketdata")

        policy = RetryPolicy(cap=2.0)
        plain = reads.consume(OMS_ORDERS_FILLED, durable=PLAIN, policy=policy)
        ordered = in_order.consume(OMS_ORDERS_FILLED, durable=ORDERED, policy=policy, ordered_by="fund_id")
        self._ears = [Ear(_ITERATES, self._feed, iterates), Ear(_CALLED, self._feed, called)]
        live = iterates.listen(MARKETDATA_QUOTES)
        await opened.enter_async_context(called.listen(MARKETDATA_QUOTES, self._ears[1].take))
        for reader in (plain, ordered, live):
            await reader.start()
        await answers.subscribe(SUBJECT, cb=answer)
        for number, emitter in enumerate(self._orders.emitters(emits)):
            self._start(f"emits {number}", emitter)
        self._start("emits many", self._orders.emit_bulks(bulks))
        self._start("reads", self._orders.consume_plain(plain))
        self._start("reads in order", self._orders.consume_ordered(ordered))
        self._start("feed", self._feed.publish(feed))
        self._start("listens", self._ears[0].listen(live))
        self._start("asks", self._questions.ask_on(asks))
        self._open()

    async def _connect(self, nodes: Nodes, service: str, name: str) -> EventBus:
        urls = self._chance.sample(nodes.urls, len(nodes.urls))
        config = self._directory / "mts1b.toml"
        config.write_text('profile = "production"\n')
        return await connect(
            urls,
            config=config,
            service=service,
            name=name,
            tls_dir=nodes.pki.directory,
            connect_timeout=PATIENCE,
            network=NamedNetwork(self._chance),
        )

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    def _open(self) -> None:
        self._orders.opened()
        self._gate.open()

    async def _end(self) -> None:
        """Whatever happened: end the load and its buses."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._clients.close()

    # Faults.

    async def _go_wrong(self, nodes: Nodes) -> None:
        faults = Faults(nodes, self._clients, self._chance)
        await self._orders.flow(_FLOW, PATIENCE)
        await self._look(nodes)
        end, deck = time.monotonic() + self._seconds, list[str]()
        for number in count(1):
            deck = deck or self._chance.sample(list(faults.kinds), len(faults.kinds))
            await self._one(nodes, faults, deck.pop())
            over = time.monotonic() > end
            if number == self._warm_up or number % _BETWEEN_LOOKS == 0 or over:
                found = await self._look(nodes)
                if number >= self._warm_up and self._warm is None:
                    self._warm = found
            if over:
                return
            await asyncio.sleep(_CALM)

    async def _one(self, nodes: Nodes, faults: Faults, kind: str) -> None:
        times = self._clients.begin(kind)
        breaks, first_quote = times.breaks, self._feed.number + 1
        print(f"{kind} …", end="", flush=True)
        await faults.kinds[kind]()
        ended = time.monotonic()
        await self._clients.all_back(BACK_WITHIN)
        await self._orders.flow(_FLOW, PATIENCE)
        times.flows.append(time.monotonic() - ended)
        await nodes.healthy()
        if kind in HARMLESS and times.breaks == breaks:
            self._complain(*await self._feed.all_arrive(self._ears, first_quote, self._feed.number, PATIENCE, kind))
        for task in self._tasks:
            if task.done():
                task.result()
        print(f" {time.monotonic() - ended:.1f} s", flush=True)

    # Looking.

    async def _look(self, nodes: Nodes) -> Held:
        """Hold the load, and see that nothing is missing, nothing uncounted, nothing kept."""
        await self._gate.close()
        orders, feed, buses = self._orders, self._feed, self._clients.buses
        try:
            await until(lambda: not orders.unhandled)
        except TimeoutError:
            self._complain(f"{orders.unhandled} acknowledged orders were not handled within {PATIENCE:g} s")
        self._complain(*await feed.everything_arrives(buses[_FEED], self._ears, _WINDOW, PATIENCE))
        self._complain(*feed.unaccounted(buses[_FEED]))
        self._complain(*await self._questions.all_are_answered(buses["asks"], 20, PATIENCE))
        first = self.figures.looks[0] if self.figures.looks else None
        found = await held(nodes, first)
        self.figures.looks.append(found)
        print(f"    {found.line()}", flush=True)
        if first is not None and not found.same_handles(first):
            self._complain(
                f"handles: at first {first.line()} {first.connections}, now {found.line()} {found.connections}"
            )
        self._open()
        return found

    def _complain(self, *complaints: str) -> None:
        self.figures.complaints += complaints
        for complaint in complaints:
            print(f"!!! {complaint}", flush=True)

    # The judgement.

    async def _judge(self, nodes: Nodes) -> None:
        await self._gate.close()
        figures, orders, feed = self.figures, self._orders, self._feed
        stored = await self._read_stream(nodes)
        self._complain(*orders.judge_stream(stored), *orders.complaints, *self._questions.complaints)
        for ear in self._ears:
            self._complain(*ear.complaints)
        if self._warm is not None:
            self._complain(*figures.looks[-1].grown_since(self._warm))
        bus = self._clients.buses[_FEED]
        figures.times, figures.reconnects = self._clients.times, self._clients.reconnects
        figures.orders = {
            "published": orders.total,
            "stored": len(stored),
            "handled": orders.handled[PLAIN],
            "repeated": orders.repeated[PLAIN],
            "handled in order": orders.handled[ORDERED],
            "repeated in order": orders.repeated[ORDERED],
            "uncertain": orders.uncertain,
            "overtaken": orders.overtaken(stored),
            "longest gap": orders.longest_gap,
        }
        figures.quotes = {"sent": feed.number, "dropped": feed.refused, "unsent": feed.unsent(bus)}
        accepted = feed.number - feed.refused - feed.unsent(bus)
        for ear, name in zip(self._ears, (_ITERATES, _CALLED), strict=True):
            figures.quotes |= {f"received: {name}": ear.different, f"came again: {name}": ear.repeated}
            figures.quotes[f"lost on the way: {name}"] = accepted - ear.different
        figures.questions = self._questions.outcomes

    async def _read_stream(self, nodes: Nodes) -> list[bytes]:
        """Everything in the stream, as another library reads it."""
        context = ssl.create_default_context(cafile=nodes.pki.ca)
        context.load_cert_chain(nodes.pki.pem(ADMIN))
        client = await nats.connect(
            f"tls://127.0.0.1:{nodes.servers[NAMES[0]].port}", tls=context, inbox_prefix=f"_INBOX_{ADMIN}"
        )
        try:
            js = client.jetstream(timeout=PATIENCE)
            total = (await js.stream_info(STREAM)).state.messages
            reader = await js.pull_subscribe(
                "mts.v1.oms.orders.>", stream=STREAM, config=ConsumerConfig(ack_policy=AckPolicy.NONE)
            )
            stored: list[bytes] = []
            while len(stored) < total:
                stored += [message.data for message in await reader.fetch(500, timeout=PATIENCE)]
        finally:
            await client.close()
        return stored
