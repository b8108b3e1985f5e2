"""Ten processes' worth of buses in one, and what they do all the while."""

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from mts1b_deploy.permissions import ADMIN
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus, RetryPolicy, apply_streams, connect, wait_for_jetstream
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers
from soak_clients import Clients
from soak_faults import LARGE
from soak_gate import Gate
from soak_nodes import DURABLES, ORDERED, PATIENCE, PLAIN, READER, Nodes, until
from soak_orders import Orders
from soak_questions import SUBJECT, Questions, answer
from soak_quotes import Ear, Feed
from soak_stream import STREAM
from soak_wires import NamedNetwork

_WINDOW: Final = 200
"""Quotes, all of which arrive, at each look at the books."""
_FEED, _ASKS, _ITERATES, _CALLED = "feed", "asks", "listens by iterating", "listens by callback"


class Load:
    """The work of all clients, and the books about it.

    Args:
        directory: where configurations of clients are written.
        nodes: the servers.
        chance: which server each client dials first, and which of its addresses.
        seconds: how long it goes on at most; the books have room for that.
    """

    def __init__(self, directory: Path, nodes: Nodes, chance: random.Random, seconds: float) -> None:
        self._config = directory / "mts1b.toml"
        self._nodes = nodes
        self._chance = chance
        self._gate = Gate()
        self._tasks: list[asyncio.Task[None]] = []
        self.clients = Clients()
        self.orders = Orders(seconds, self._gate)
        self.feed = Feed(seconds, self._gate)
        self.questions = Questions(self._gate)
        self.ears: list[Ear] = []

    async def begin(self) -> None:
        """Make the stream and its durables, connect everybody, and let them work."""
        self._config.write_text('profile = "production"\n')
        admin = await self._connect(ADMIN, "admin")
        await wait_for_jetstream(admin)
        streams = [each for each in declared().streams if each.name == STREAM]
        await apply_streams(admin, profile="production", streams=streams)
        await apply_consumers(admin, DURABLES)
        await KvDedupe(admin).ensure_bucket()
        await admin.close()
        await self._client(LARGE, "mts1b-oms")
        await self._exchange_orders()
        await self._exchange_quotes()
        await self._exchange_questions()
        self.go_on()

    async def hold(self) -> None:
        """Nobody sends anything more when this returns."""
        await self._gate.close()

    def go_on(self) -> None:
        """Everybody sends again."""
        self.orders.opened()
        self._gate.open()

    def check(self) -> None:
        """Raise what has ended a part of the work."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def end(self) -> None:
        """Stop the work and close every bus."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.clients.drain()

    # The books, while the load is held and nothing is wrong.

    async def faults_of_books(self) -> list[str]:
        """Complaints about what is missing, came twice or was not counted."""
        orders, feed, buses = self.orders, self.feed, self.clients.buses
        complaints: list[str] = []
        try:
            await until(lambda: not orders.unhandled)
        except TimeoutError:
            complaints.append(f"{orders.unhandled} acknowledged orders were not handled within {PATIENCE:g} s")
        complaints += await feed.everything_arrives(buses[_FEED], self.ears, _WINDOW, PATIENCE)
        complaints += feed.unaccounted(buses[_FEED])
        return complaints + await self.questions.all_are_answered(buses[_ASKS], 20, PATIENCE)

    def quotes(self) -> dict[str, int]:
        """What became of the quotes."""
        feed, bus = self.feed, self.clients.buses[_FEED]
        found = {"sent": feed.number, "dropped": feed.refused, "unsent": feed.unsent(bus)}
        left = feed.number - feed.refused - feed.unsent(bus)
        for ear in self.ears:
            for what, number in (("received", ear.different), ("again", ear.repeated), ("lost", left - ear.different)):
                found[f"{ear.name}: {what}"] = number
        return found

    def complaints(self) -> list[str]:
        """What the handlers had to complain of."""
        heard = [complaint for ear in self.ears for complaint in ear.complaints]
        return self.orders.complaints + self.questions.complaints + heard

    # How.

    async def _connect(self, service: str, name: str) -> EventBus:
        return await connect(
            self._chance.sample(self._nodes.urls, len(self._nodes.urls)),
            config=self._config,
            service=service,
            name=name,
            tls_dir=self._nodes.pki.directory,
            connect_timeout=PATIENCE,
            network=NamedNetwork(self._chance),
        )

    async def _client(self, name: str, service: str) -> EventBus:
        bus = await self._connect(service, name)
        await js_api(bus, "STREAM.NAMES")  # the first question opens the inbox for answers
        return self.clients.add(name, bus)

    def _work(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _exchange_orders(self) -> None:
        emits, bulks = await self._client("emits", "mts1b-oms"), await self._client("emits many", "mts1b-oms")
        reads, in_order = await self._client("reads", READER), await self._client("reads in order", READER)
        policy = RetryPolicy(cap=2.0)
        plain = reads.consume(OMS_ORDERS_FILLED, durable=PLAIN, policy=policy)
        ordered = in_order.consume(OMS_ORDERS_FILLED, durable=ORDERED, policy=policy, ordered_by="fund_id")
        await plain.start()
        await ordered.start()
        for number, emitter in enumerate(self.orders.emitters(emits)):
            self._work(f"emits {number}", emitter)
        self._work("emits many", self.orders.emit_bulks(bulks))
        self._work("reads", self.orders.consume_plain(plain))
        self._work("reads in order", self.orders.consume_ordered(ordered))

    async def _exchange_quotes(self) -> None:
        feed = await self._client(_FEED, "mts1b-marketdata")
        iterates, called = await self._client(_ITERATES, "mts1b-brokers"), await self._client(_CALLED, "mts1b-brokers")
        self.ears = [Ear(_ITERATES, self.feed, iterates), Ear(_CALLED, self.feed, called)]
        live = iterates.listen(MARKETDATA_QUOTES)
        await live.start()
        await called.listen(MARKETDATA_QUOTES, self.ears[1].take).start()
        self._work("feed", self.feed.publish(feed))
        self._work("listens", self.ears[0].listen(live))

    async def _exchange_questions(self) -> None:
        answers, asks = await self._client("answers", "mts1b-marketdata"), await self._client(_ASKS, "mts1b-research")
        await answers.subscribe(SUBJECT, cb=answer)
        self._work("asks", self.questions.ask_on(asks))
