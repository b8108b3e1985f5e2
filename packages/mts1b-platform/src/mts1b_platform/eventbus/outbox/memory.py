"""An outbox in memory, for state that does not outlive its process: what waits is lost with it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import DurableSubject

from mts1b_platform.eventbus.events.trace import trace_id_for
from mts1b_platform.eventbus.outbox.message import Row, seal
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.outbox")


@dataclass(slots=True, eq=False)
class Waiting:
    """An event that is not published yet."""

    number: int
    subject: DurableSubject[Any]
    event: Payload
    msg_id: str | None
    trace_id: str


class MemoryOutbox:
    """Events that wait, in order. Implements ``Outbox``; a :class:`Sender` publishes from it.

    Args:
        service: the service that publishes them.
        actor: who acts when an event does not say.
    """

    def __init__(self, *, service: str, actor: str | None = None) -> None:
        self.waiting: deque[Waiting] = deque()
        self._service = service
        self._actor = actor
        self._number = 0

    def add(
        self, subject: DurableSubject[Any], event: Payload, *, msg_id: str | None = None, trace_id: str | None = None
    ) -> None:
        """Add one; inside ``async with event`` it joins that event's trace."""
        self._number += 1
        self.waiting.append(Waiting(self._number, subject, event, msg_id, trace_id_for(trace_id)))

    def published(self, number: int) -> None:
        """The stream has the event with this number."""
        waiting = self.waiting
        if waiting[0].number == number:
            waiting.popleft()
        else:
            waiting.remove(next(each for each in waiting if each.number == number))

    async def open(self) -> bool:
        """It is always open."""
        return False

    async def close(self) -> None:
        """Forget what waits."""
        self.waiting.clear()

    async def hold(self, owner: str, seconds: float) -> bool:  # noqa: ARG002 - there is no other owner
        """Nobody else can hold it."""
        return True

    async def release(self, owner: str) -> None:
        """Nobody else can hold it."""

    async def pending(self, limit: int) -> list[Row]:
        """The next events, in order."""
        return [self._row(each) for each in islice(self.waiting, limit)]

    async def remove(self, rows: Sequence[Row]) -> None:
        """Forget published events."""
        for row in rows:
            self.published(row.number)

    async def failed(self, row: Row, error: str, *, park: bool) -> None:
        """Forget an event that its stream refuses for good, and say so."""
        if park:
            log.critical("an event is lost: its stream refuses it", subject=row.subject, id=row.msg_id, error=error)
            self.published(row.number)

    def _row(self, waiting: Waiting) -> Row:
        sealed = seal(
            waiting.subject,
            waiting.event,
            service=self._service,
            actor=self._actor,
            msg_id=waiting.msg_id,
            trace_id=waiting.trace_id,
            headers=None,
        )
        return Row(waiting.number, sealed.subject, sealed.headers, sealed.payload, 0)
