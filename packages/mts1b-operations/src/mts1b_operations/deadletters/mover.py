"""The mover: a dead letter for every message that a consumer without this project's library gave up on.

Reads the captured advisories with a durable of its own, fetches the original, stores the dead letter, and only then
acknowledges the advisory. The dead letter has the id that the wrapper gives the same failure, so that whichever comes
first stores it and the other changes nothing; a mover that is killed at any moment repeats a step and stores one.
"""

import asyncio
from typing import Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects import deadletters_of
from mts1b_platform.eventbus import EventBus, RawReader, apply_streams
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.jetstream.durables import ensure_durable
from mts1b_platform.eventbus.protocol.acks import again_in
from mts1b_platform.eventbus.protocol.envelope import TRACE_ID
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.logs import get_logger

from mts1b_operations.deadletters.advisories import Advisory, nameable, read_original
from mts1b_operations.declared import ADVISORIES, DURABLE

log = get_logger("mts1b.operations.deadletters")

_WINDOW: Final = 50
_AGAIN: Final = 5.0
"""Seconds until a failure that could not be moved is tried again."""
_OWN: Final = "mts."


class Mover:
    """Moves until :meth:`stop`. Several may run: they share the durable, and each failure is moved once.

    Args:
        bus: the connection; it speaks as the service that dead-letters, ``mts1b-operations``.
        ack_wait: seconds after which what a crashed mover had in hand goes to another.

    Attributes:
        moved: dead letters stored by this mover.
        known: failures that had their dead letter already.
        gone: failures whose message the stream had dropped before it could be saved; logged as errors.
        ignored: advisories about streams outside this project, and about dead letters themselves.
    """

    def __init__(self, bus: EventBus, *, ack_wait: float = 30.0) -> None:
        self.moved = 0
        self.known = 0
        self.gone = 0
        self.ignored = 0
        self._bus = bus
        self._ack_wait = ack_wait
        self._stopping = False
        self._advisories: RawReader | None = None
        self._ending: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Finish the advisory at hand and return from :meth:`run`."""
        self._stopping = True
        if self._advisories is not None:
            self._ending = asyncio.create_task(self._advisories.stop(), name="stop the dead-letter mover")

    async def prepare(self) -> None:
        """Create the stream of advisories and the durable where they are missing; needs an identity that may.

        Raises:
            BusError: the server refuses, or does not answer.
        """
        await apply_streams(self._bus, streams=[ADVISORIES])
        await ensure_durable(
            self._bus,
            stream=ADVISORIES.name,
            durable=DURABLE,
            filters=ADVISORIES.subjects,
            ack_wait=self._ack_wait,
            deliver="all",
            max_ack_pending=1000,
            service="mts1b-operations",
        )

    async def run(self) -> None:
        """Move until :meth:`stop`.

        Raises:
            BusClosed: the bus was closed.
            ConsumerGone: the durable was deleted.
            BusError: the stream or the durable cannot be created.
        """
        await self.prepare()
        async with self._bus.read_raw(ADVISORIES.name, DURABLE, window=_WINDOW, ack_wait=self._ack_wait) as advisories:
            self._advisories = advisories
            async for msg in advisories:
                advisories.settle(msg, b"+ACK" if await self._dealt_with(msg) else again_in(_AGAIN))
                if self._stopping:
                    return

    async def _dealt_with(self, msg: WireMsg) -> bool:
        try:
            advisory = Advisory.parse(msg.payload)
        except ValueError as error:
            log.error("an advisory cannot be read", error=str(error))
            self.ignored += 1
            return True
        try:
            await self._move(advisory)
        except BusError as error:
            log.warning("not moved; trying again", advisory=str(advisory), error=str(error), seconds=_AGAIN)
            return False
        return True

    async def _move(self, advisory: Advisory) -> None:
        original = await read_original(self._bus, advisory.stream, advisory.sequence)
        if original is None:
            self.gone += 1
            log.error(
                "a message was given up and its stream has dropped it: nothing is left to save",
                stream=advisory.stream,
                seq=advisory.sequence,
                consumer=advisory.consumer,
            )
            return
        if not original.subject.startswith(_OWN) or original.subject.endswith(".deadletters.created"):
            self.ignored += 1
            return
        letter = DeadLetter.of_stored(
            subject=original.subject,
            headers=original.headers,
            payload=original.payload,
            stream=advisory.stream,
            sequence=advisory.sequence,
            stored_at=original.stored_at,
            consumer=nameable(advisory.consumer),
            deliveries=advisory.deliveries,
            reason=advisory.reason,
            error=advisory.error,
        ).fitted(self._bus.max_payload)
        subject = deadletters_of(self._bus.service)
        ack = await self._bus.emit(subject, letter, trace_id=original.headers.get(TRACE_ID))
        if ack.duplicate:
            self.known += 1
            return
        self.moved += 1
        log.error(
            "dead letter",
            subject=letter.subject,
            stream=letter.stream,
            seq=letter.sequence,
            durable=letter.consumer,
            reason=letter.reason.value,
            error=letter.error,
            id=letter.dead_letter_id,
        )
