"""What waits for the server, in the compiled core's buffer: bytes, without an object for each frame."""
# pyright: reportIncompatibleVariableOverride=false, reportAttributeAccessIssue=false
# reason: what the base class keeps in attributes and does in methods, the buffer keeps and does
# ruff: noqa: D102 - documented where the base class has them

from collections.abc import Callable

from mts1b_platform.eventbus.connection.network import Transport
from mts1b_platform.eventbus.connection.outbound import Outbound
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.core import CORE, Core


class CompiledOutbound(Outbound):
    """:class:`Outbound`, whose hot half is the compiled core's; see there for what each method does."""

    __slots__ = ("_now", "ack", "buffer", "control", "send", "send_many", "send_volatile")

    def __init__(
        self, core: Core, *, limit: int, high_water: int, stats: Stats, report: Callable[[Exception], None]
    ) -> None:
        self.buffer = core.OutBuffer(self, limit, high_water, 1 << 20)
        """Where the bytes are; who sends without a further step writes into it."""
        self._now: Transport | None = None
        super().__init__(limit=limit, high_water=high_water, stats=stats, report=report)
        self.send = self.buffer.send
        self.send_many = self.buffer.send_many
        self.send_volatile = self.buffer.send_volatile
        self.ack = self.buffer.ack
        self.control = self.buffer.control

    def flush_out(self) -> None:
        """See :meth:`Outbound.flush_out`."""
        buffer, transport = self.buffer, self._now
        buffer.scheduled = False
        if transport is None or self._paused or (taken := buffer.take()) is None:
            return
        data, messages = taken
        stats = self._stats
        stats.out_msgs += messages
        stats.out_bytes += len(data)
        transport.write(data)
        if self._waiters:
            self._wake()

    # What the base class keeps in attributes of its own.

    @property
    def _transport(self) -> Transport | None:
        return self._now

    @_transport.setter
    def _transport(self, transport: Transport | None) -> None:
        self._now = transport
        self.buffer.up = transport is not None

    @property
    def _scheduled(self) -> bool:
        return self.buffer.scheduled

    @_scheduled.setter
    def _scheduled(self, scheduled: bool) -> None:
        self.buffer.scheduled = scheduled

    @property
    def high_water(self) -> int:
        return self.buffer.high_water

    @high_water.setter
    def high_water(self, most: int) -> None:
        self.buffer.high_water = most

    @property
    def max_payload(self) -> int:
        return self.buffer.max_payload

    @max_payload.setter
    def max_payload(self, most: int) -> None:
        self.buffer.max_payload = most

    @property
    def dropped(self) -> int:
        return self.buffer.dropped

    @dropped.setter
    def dropped(self, count: int) -> None:
        self.buffer.dropped = count

    @property
    def waiting(self) -> int:
        return self.buffer.waiting

    @waiting.setter
    def waiting(self, nothing: int) -> None:
        assert not nothing  # noqa: S101 - the buffer counts by itself

    @property
    def frames(self) -> list[bytes]:
        return [frame for frame, _ in self.buffer.frames()]

    @frames.setter
    def frames(self, frames: list[bytes]) -> None:
        self.buffer.replace([(frame, 0) for frame in frames])

    def _count(self, kind: int) -> int:
        return sum(its == kind for _, its in self.buffer.frames())

    def _remove(self, unwanted: Callable[[bytes, int], bool]) -> list[bytes]:
        kept, removed = list[tuple[bytes, int]](), list[bytes]()
        for frame, kind in self.buffer.frames():
            if unwanted(frame, kind):
                removed.append(frame)
            else:
                kept.append((frame, kind))
        self.buffer.replace(kept)
        return removed


def make_outbound(*, limit: int, high_water: int, stats: Stats, report: Callable[[Exception], None]) -> Outbound:
    """The buffer of a connection, of the form that is at work."""
    if CORE is None:
        return Outbound(limit=limit, high_water=high_water, stats=stats, report=report)
    return CompiledOutbound(CORE, limit=limit, high_water=high_water, stats=stats, report=report)
