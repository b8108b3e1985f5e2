"""The relay: carries events from an outbox to their streams, in order, without losing or doubling one.

Guarantees:

- Each event is published at least once, always with the message id it was added with, and forgotten only after its
  stream has it. A crash between the two publishes it again, and the stream recognises it inside its dedupe window.
- Events arrive in the order of the outbox. Several at once go as one atomic batch (all or none, one fsync); when a
  batch is refused or its ack is lost they go one by one, each acknowledged before the next leaves.
- Several relays may share one outbox: one works, the others stand by and take over when it ends or dies. A relay that
  was frozen for longer than its lease (SQLite) and goes on repeats at most one batch.
- The server away, no leader, no stream: the relay waits and tries again for ever, and says so. An event that the
  server refuses for good is set aside after a bounded number of attempts, with the error, and the rest goes on.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any, Final, Protocol, Self

from mts1b_foundation.subjects import DurableSubject, Subject, registry

from mts1b_platform.eventbus.bus import EventBus
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    JetStreamUnavailable,
    NoStream,
    PublishError,
    PublishUncertain,
    StoreError,
)
from mts1b_platform.eventbus.events.outgoing import Ack, Outgoing
from mts1b_platform.eventbus.jetstream.durables import stream_of
from mts1b_platform.eventbus.limits import check_count, check_seconds
from mts1b_platform.eventbus.outbox.message import Row
from mts1b_platform.eventbus.protocol.puback import PubAck, PublishFailed
from mts1b_platform.eventbus.publishing.batch import MAX_BATCH, Batch
from mts1b_platform.eventbus.publishing.durable import send_durable
from mts1b_platform.eventbus.publishing.prepare import draft_of
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.outbox")

_PAUSE = (0.05, 2.0)
_BATCH_TIMEOUT: Final = 5.0
"""Seconds that the server has to store a batch."""
_LAST_ROUNDS = 50
"""A relay that is told to stop while others go on adding does not go on for ever."""


class Outbox(Protocol):
    """What a relay asks of an outbox."""

    async def open(self) -> bool:
        """Open it; False when it was open before."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...

    async def hold(self, owner: str, seconds: float) -> bool:
        """Take or renew the right to publish from it."""
        ...

    async def release(self, owner: str) -> None:
        """Give that right back."""
        ...

    async def pending(self, limit: int) -> list[Row]:
        """The next events in order."""
        ...

    async def remove(self, rows: Sequence[Row]) -> None:
        """Forget published events."""
        ...

    async def failed(self, row: Row, error: str, *, park: bool) -> None:
        """Count a refused publish, and perhaps set the event aside."""
        ...


@dataclass(slots=True)
class RelayCounters:
    """What a relay did since it was made."""

    published: int = 0
    """Events that their stream has, by this relay's doing."""
    duplicates: int = 0
    """Of these: stored before, by an attempt whose ack was lost or by a relay that died."""
    batches: int = 0
    """Atomic batches that were stored."""
    waits: int = 0
    """Rounds that ended without a word from JetStream or the database."""
    refused: int = 0
    parked: int = 0
    """Events set aside."""


class Relay:
    """Publishes what waits in ``outbox`` until :meth:`stop`; ``async with`` runs it in the background.

    Args:
        bus: the connection; it must speak as the outbox's service.
        outbox: a ``SqliteOutbox`` or ``PostgresOutbox`` of its own (not shared with another relay object).
        batch: most events in one go, at most 1000.
        poll: seconds between looks at an empty outbox.
        lease: seconds after which another relay takes over from one that died (SQLite; PostgreSQL knows at once).
        attempts: how often an event that the server refuses is tried before it is set aside.
        owner: name of the one instance that this relay belongs to, where there is never a second: started again after
            a crash it goes on at once instead of waiting for its own lease to end. Default: a name of its own.
    """

    def __init__(
        self,
        bus: EventBus,
        outbox: Outbox,
        *,
        batch: int = 200,
        poll: float = 0.05,
        lease: float = 15.0,
        attempts: int = 5,
        owner: str | None = None,
    ) -> None:
        check_count("batch", batch, most=MAX_BATCH)
        check_seconds("poll", poll)
        check_seconds("lease", lease)
        check_count("attempts", attempts)
        self.counters = RelayCounters()
        self._bus = bus
        self._outbox = outbox
        self._batch = batch
        self._poll = poll
        self._lease = lease
        self._attempts = attempts
        self._owner = owner or secrets.token_hex(8)
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._streams: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name="outbox relay")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if self._task is not None:
            await self._task

    def stop(self) -> None:
        """Publish what waits now, give the outbox to the next relay, and return from :meth:`run`.

        Returns without it when the server or the database does not answer: what waits, waits for the next relay.
        """
        self._stopping.set()
        self._woken.set()

    def wake(self) -> None:
        """Look at the outbox now: something was committed in this process."""
        self._woken.set()

    async def run(self) -> None:
        """Publish until :meth:`stop`.

        Raises:
            BusClosed: the bus was closed under the relay; what was not published waits in the outbox.
            StoreError: the outbox cannot be opened at all.
        """
        opened = await self._outbox.open()
        quiet = 0
        try:
            rounds_left = _LAST_ROUNDS
            while rounds_left:
                last = self._stopping.is_set()
                rounds_left -= last
                self._woken.clear()
                try:
                    busy = await self._round()
                    quiet = 0
                except (PublishUncertain, JetStreamUnavailable, NoStream, StoreError) as error:
                    quiet += 1
                    self.counters.waits += 1
                    if last:
                        break
                    log.warning("outbox waits; nothing is lost", error=str(error), round=quiet)
                    await self._rest(min(_PAUSE[1], _PAUSE[0] * 2 ** min(quiet, 10)))
                else:
                    if last and not busy:
                        break
                    if not busy:
                        await self._rest(self._poll, self._woken)
        finally:
            try:
                await asyncio.shield(self._outbox.release(self._owner))
            except StoreError as error:
                log.warning("outbox not released; its lease ends by itself", error=str(error))
            if opened:
                await asyncio.shield(self._outbox.close())

    async def _round(self) -> bool:
        """Publish one batch; says whether there was one."""
        if not await self._outbox.hold(self._owner, self._lease):
            return False
        rows = await self._outbox.pending(self._batch)
        for run in await self._runs(rows):
            if not await self._together(run):
                await self._one_by_one(run)
        return bool(rows)

    async def _together(self, rows: list[Row]) -> bool:
        """All of ``rows`` as one atomic batch; False when they must go one by one."""
        if len(rows) == 1 or any(row.attempts for row in rows):
            return False
        subjects = [registry().find(row.subject) for row in rows]
        sent = [_outgoing(row, subject) for row, subject in zip(rows, subjects, strict=True) if subject is not None]
        if len(sent) < len(rows):
            return False  # one by one, so that the unknown subject is named
        hooks = self._bus.hooks
        marks = [hooks.publishing(s, None, out, None) for s, out in zip(subjects, sent, strict=True) if hooks and s]

        def tell(error: BaseException) -> None:
            if hooks is not None:
                for mark, out in zip(marks, sent, strict=True):
                    hooks.published(mark, out, None, error)

        try:
            stored = await self._store(
                Batch([draft_of(self._bus.publishing, s, o) for s, o in zip(subjects, sent, strict=True) if s])
            )
        except BaseException as error:
            tell(error)
            raise
        if stored is None:
            tell(PublishUncertain("the batch is not known to be stored; its events go one by one"))
            return False
        first = stored.seq - len(sent) + 1
        for number, out in enumerate(sent):
            self._bus.counters.published[out.pattern] += 1
            if hooks:
                ack = Ack(
                    stored.stream,
                    first + number,
                    duplicate=False,
                    subject=out.subject,
                    msg_id=rows[number].msg_id,
                )
                hooks.published(marks[number], out, ack, None)
        await self._outbox.remove(rows)
        self.counters.published += len(rows)
        self.counters.batches += 1
        return True

    async def _store(self, batch: Batch) -> PubAck | None:
        """Store ``batch``; None when it was refused, or its ack was lost and it may be stored.

        Publishing its events one by one, with the same ids, then finds out and completes what is missing, in order.
        """
        if not self._bus.is_connected:
            return None
        try:
            async with asyncio.timeout(_BATCH_TIMEOUT):
                return await self._bus.publishing.pipeline.store(batch)
        except (PublishFailed, TimeoutError) as error:
            log.debug("an outbox batch is not known to be stored; its events go one by one", error=str(error))
        except BusClosed:
            raise BusClosed("the bus is closed; what was not published waits in the outbox") from None
        except BusError as error:
            log.debug("an outbox batch was not sent; its events go one by one", error=str(error))
        return None

    async def _one_by_one(self, rows: list[Row]) -> None:
        stored: list[Row] = []
        try:
            for row in rows:
                # The right to publish ends by itself; whoever has lost it must not go on with what he read.
                if not await self._outbox.hold(self._owner, self._lease):
                    return
                try:
                    ack = await self._send(row)
                except (PublishUncertain, JetStreamUnavailable, NoStream, BusClosed):
                    raise
                except PublishError as error:
                    await self._refused(row, error)
                    if row.attempts + 1 < self._attempts:
                        raise PublishUncertain(f"{row.subject}: refused, to be tried again: {error}") from error
                    continue
                stored.append(row)
                self.counters.published += 1
                self.counters.duplicates += ack.duplicate
        finally:
            if stored:
                await asyncio.shield(self._outbox.remove(stored))

    async def _send(self, row: Row) -> Ack:
        subject = registry().find(row.subject)
        if not isinstance(subject, DurableSubject):
            raise PublishError(
                f"{row.subject}: no durable subject of that name is registered here; run the relay with the version of "
                "mts1b-foundation that the producer runs with"
            )
        out = _outgoing(row, subject)
        deadline = self._lease / 3
        if (hooks := self._bus.hooks) is None:
            return await send_durable(self._bus.publishing, subject, out, deadline=deadline)
        mark = hooks.publishing(subject, None, out, None)
        try:
            ack = await send_durable(self._bus.publishing, subject, out, deadline=deadline)
        except BaseException as error:
            hooks.published(mark, out, None, error)
            raise
        hooks.published(mark, out, ack, None)
        return ack

    async def _refused(self, row: Row, error: BusError) -> None:
        park = row.attempts + 1 >= self._attempts
        self.counters.refused += 1
        self.counters.parked += park
        await self._outbox.failed(row, str(error), park=park)
        log.error(
            "outbox event refused",
            next="set aside" if park else "tried again",
            subject=row.subject,
            id=row.msg_id,
            attempt=row.attempts + 1,
            error=str(error),
        )

    async def _runs(self, rows: list[Row]) -> Iterator[list[Row]]:
        """``rows`` cut where the stream changes: an atomic batch goes to one stream."""
        for row in rows:
            if row.subject not in self._streams:
                found = registry().find(row.subject)
                if isinstance(found, DurableSubject):
                    self._streams[row.subject] = await stream_of(self._bus, [found])
        return (list(run) for _, run in groupby(rows, key=lambda row: self._streams.get(row.subject, row.subject)))

    async def _rest(self, seconds: float, until: asyncio.Event | None = None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await (until or self._stopping).wait()
        except TimeoutError:
            return


def _outgoing(row: Row, subject: Subject[Any]) -> Outgoing:
    return Outgoing(row.subject, subject.pattern, row.payload, dict(row.headers))
