"""Typed events flowing through a cluster while it fails, and the judgement: none lost, none stored twice, which gap."""

import asyncio
import contextlib
import secrets
import time
from collections import defaultdict
from collections.abc import Generator
from itertools import count, pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus, connect

DURABLE = "my-consumer"
"""Declared by ``SPEC_READER``: services of a locked-down bus make no durables."""
SPEC_READER = Path(__file__).parents[2] / "checkouts" / "spec-reader"

_EMITTERS = 8
_PAUSE = 0.05
"""Seconds between two events of an emitter while nothing happens to the cluster."""
_DEADLINE = 100.0
"""Seconds for an event: what is sent again when the dedupe window of two minutes is over may be stored twice."""
_STALL = 0.1
"""Seconds; when this process stood still for longer, so may have the whole machine."""


class Load:
    """Services on the bus: mts1b-oms emits orders as fast as they are acknowledged, mts1b-treasury reads them.

    Args:
        config: an ``mts1b.toml`` that leads to the cluster, or to a node of profile single.
        ordered: whether the reader keeps the order of each emitter, whatever happens to its connection.
    """

    def __init__(self, config: Path, *, ordered: bool = False) -> None:
        self._config = config
        self._ordered_by = "fund_id" if ordered else None
        self._numbers = count()
        self._name = secrets.token_hex(4)  # a cluster may see several loads, and must not take them for the same events
        self._tasks: list[asyncio.Task[None]] = []
        self._buses: list[EventBus] = []
        self._stopping = False
        self._pause = 0.0
        self.acked: dict[str, int] = {}
        """By id of every acknowledged event: the sequence that the ack named."""
        self.acked_at: list[float] = []
        self.stalls: list[tuple[float, float]] = []
        """From when until when this process did not run."""
        self.read: defaultdict[str, set[int]] = defaultdict(set)
        """By id of every event that was read: the sequences under which it is stored."""
        self.disordered: list[str] = []
        """Ids of events that were first read after a later one of the same emitter."""
        self._latest: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        for service in ("mts1b-oms", "mts1b-treasury"):
            self._buses.append(await connect(config=self._config, service=service, connect_timeout=20))
        self._watch = asyncio.create_task(self._note_stalls())
        self._tasks = [asyncio.create_task(self._emit(f"fund-{each}")) for each in range(_EMITTERS)]
        self._reader = asyncio.create_task(self._consume())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = (*self._tasks, self._reader, self._watch)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for bus in self._buses:
            await bus.close()

    @contextlib.contextmanager
    def calm(self) -> Generator[None]:
        """Emit some hundred events a second meanwhile: who waits for nodes that catch up leaves them the processor."""
        self._pause = _PAUSE
        try:
            yield
        finally:
            self._pause = 0.0

    async def more(self, acks: int = 200, within: float = 180.0) -> None:
        """Wait until ``acks`` further events were acknowledged."""
        wanted = len(self.acked) + acks
        async with asyncio.timeout(within):
            while len(self.acked) < wanted:
                self._check()
                await asyncio.sleep(0.01)

    async def finish(self, within: float = 180.0) -> None:
        """Emit no more, and wait until everything acknowledged was read."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.lost:
                    self._check()
                    await asyncio.sleep(0.05)

    @property
    def server(self) -> str:
        """The host that the events are sent to; empty while there is no connection."""
        url = self._buses[0].connected_url
        return url.host if url else ""

    @property
    def lost(self) -> set[str]:
        """Acknowledged and never read."""
        return set(self.acked) - set(self.read)

    @property
    def doubled(self) -> dict[str, set[int]]:
        """Stored more than once."""
        return {each: seqs for each, seqs in self.read.items() if len(seqs) > 1}

    def gap(self, since: float) -> float:
        """The longest time without an ack, in seconds, from ``since`` (monotonic) on, but for our own stalls in it."""
        moments = [since, *(at for at in self.acked_at if at >= since)]
        return max((self._awake(earlier, later) for earlier, later in pairwise(moments)), default=0.0)

    def _awake(self, since: float, until: float) -> float:
        asleep = (min(until, end) - max(since, begin) for begin, end in self.stalls if begin < until and end > since)
        return until - since - sum(asleep)

    def _check(self) -> None:
        for task in (*self._tasks, self._reader):
            if task.done() and not self._stopping and (error := task.exception()) is not None:
                raise error

    async def _emit(self, fund: str) -> None:
        bus = self._buses[0]
        for number in self._numbers:
            if self._stopping:
                return
            order = _order(f"{self._name}-{number}", fund)
            ack = await bus.emit(OMS_ORDERS_FILLED, order, deadline=_DEADLINE)
            self.acked[order.idempotency_key] = ack.seq
            self.acked_at.append(time.monotonic())
            if self._pause:
                await asyncio.sleep(self._pause)

    async def _note_stalls(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            if (now := time.monotonic()) - before > _STALL:
                self.stalls.append((before, now))

    async def _consume(self) -> None:
        async for event in self._buses[1].consume(OMS_ORDERS_FILLED, durable=DURABLE, ordered_by=self._ordered_by):
            async with event:
                self._note(event.payload, event.seq)

    def _note(self, order: Order, seq: int) -> None:
        key = order.idempotency_key
        emitter, number = f"{key.rpartition('-')[0]} {order.fund_id}", int(key.rpartition("-")[2])
        if key not in self.read and number < self._latest.get(emitter, -1):
            self.disordered.append(key)
        self._latest[emitter] = max(number, self._latest.get(emitter, -1))
        self.read[key].add(seq)


def _order(name: str, fund: str) -> Order:
    return ORDER.model_copy(update={"order_id": f"order-{name}", "idempotency_key": name, "fund_id": fund})
