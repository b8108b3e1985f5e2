"""The dedupe store in a NATS key-value bucket: claim, effect, done. Needs nothing beside the server itself.

::

    free ──claim──► claimed (a lease, renewed while the handler works) ──done──► done (kept as long as the memory says)
     ▲                 │                              │
     └─ handler raised ┘                              └─ stood still for a lease ──► claimed by who has watched it

A lease is over when its cell has not changed for its length by the monotonic clock of who wants it: no clock that
jumps, not the server's either, ends it or makes it longer.

Guarantee: the effect happens at least once, and once in everything but two windows:

- a crash after the effect and before ``done`` is stored: the event comes again, and when the lease is over the
  effect is repeated (a bucket that cannot be written then is no crash: this process remembers what it did);
- an owner that stands still for longer than the lease (a suspended machine) and then goes on: somebody else took
  over meanwhile. The owner finds out when it wants to store ``done`` (:class:`LeaseLost`), after its effect.

Where neither may be, use a SQL store.

Of several instances of one reader none begins an effect once a greater term of office than its own is stored: the claim
comes first and the term is looked at then, and who takes over stores his before he claims anything. One that is in
its handler meanwhile ends it; its heir waits for the claim.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from mts1b_foundation.subjects import encode_token

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.dedupe.cells import Cell, Cells, Conflict
from mts1b_platform.eventbus.dedupe.store import DAY, Memory
from mts1b_platform.eventbus.errors import (
    AlreadyDone,
    BusClosed,
    InvalidArgument,
    JetStreamUnavailable,
    LeaseLost,
    Retry,
    StoreError,
    StoreMisused,
    Superseded,
)
from mts1b_platform.eventbus.events.once import Term
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.in_office import read_term, term_key
from mts1b_platform.eventbus.lease import Lease, Watched
from mts1b_platform.eventbus.limits import check_seconds
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.dedupe")

BUCKET = "MTS1B_DEDUPE"
_POLL = 0.1
_SECOND = 1_000_000_000
_SWEPT = DAY
"""Seconds after which the server removes a claim or a free cell that nobody has touched; it decides nothing."""


class _Mark(NamedTuple):
    """A cell of the bucket: ``free``, ``claimed`` or ``done``; by whom, and with which lease in seconds."""

    state: str
    token: str
    lease: float


@dataclass(slots=True)
class Claim:
    """The right to handle one event now. ``lost`` tells a long handler that somebody else has taken over."""

    key: str
    token: str
    """Who claimed: a new one for each claim."""
    revision: int = 0
    lost: bool = False


class KvDedupe:
    """Marks in the key-value bucket ``bucket`` of the server that the bus is connected to. Implements ``DedupeStore``.

    Args:
        bus: the connection to use.
        bucket: name of the bucket; created at first use when missing, which needs an identity that may do so.
        lease: seconds after which a crashed owner's event may be handled by another, from when that one first asks for
            it; at least 1. A living owner renews it three times within.
        memory: how much is remembered; enforced by the server.
        replicas: copies that a cluster keeps of a bucket created here; 3 under the profile production.
    """

    def __init__(
        self,
        bus: BusClient,
        *,
        bucket: str = BUCKET,
        lease: float = 30.0,
        memory: Memory | None = None,
        replicas: int | None = None,
    ) -> None:
        check_seconds("lease", lease)
        if lease < 1:
            raise InvalidArgument(f"lease is {lease:g} s: a renewal may take that long, give at least 1")
        self.bucket = bucket
        self.lease = lease
        self.memory = memory or Memory()
        self._bus = bus
        self._replicas = replicas or (3 if bus.settings.profile == "production" else 1)
        self._cells = Cells(bus, bucket)
        self._acted: dict[str, Claim] = {}
        """Effects that happened while the bucket could not be written; their marks are still to be stored."""
        self._ready = False

    async def open(self) -> None:
        """Create the bucket when it is missing; one that exists is left as it is.

        Raises:
            StoreError: the server refuses it, or JetStream does not answer.
        """
        if self._ready:
            return
        try:
            await self.ensure_bucket()
        except JetStreamUnavailable as error:
            raise StoreError(f"dedupe bucket {self.bucket}: {error}") from error

    async def ensure_bucket(self) -> bool:
        """Create the bucket when it is missing; one that exists is left as it is. Says whether it was created.

        Raises:
            StoreError: the server refuses it.
            JetStreamUnavailable: JetStream does not answer.
        """
        try:
            await js_api(self._bus, f"STREAM.INFO.{self._cells.stream}")
        except ApiError as error:
            if error.err_code != ErrorCode.STREAM_NOT_FOUND:
                raise StoreError(f"dedupe bucket {self.bucket}: {error}") from error
        else:
            self._ready = True
            return False
        try:
            await js_api(self._bus, f"STREAM.CREATE.{self._cells.stream}", self._definition())
        except ApiError as error:
            if "already in use" not in error.description:  # another instance was faster, with other limits
                raise StoreError(f"dedupe bucket {self.bucket} cannot be created: {error}") from error
        self._ready = True
        return True

    @asynccontextmanager
    async def once(self, consumer: str, key: str) -> AsyncGenerator[Claim, None]:
        """A claim on ``key`` while the block runs; leaving it well stores that it is done.

        Raises:
            AlreadyDone: ``consumer`` handled ``key`` before.
            Retry: somebody else has held the claim for longer than a lease, and renews it.
            LeaseLost: the claim ran out and was taken over before the block ended.
            StoreError: the bucket cannot be used.
        """
        name = f"{encode_token(consumer)}.{encode_token(key)}"
        claim = await self._claim(name)
        keeper = asyncio.create_task(self._renew(claim), name=f"lease {name}")
        try:
            yield claim
        except BaseException:
            await _stopped(keeper)
            await asyncio.shield(self._free(claim))
            raise
        await _stopped(keeper)
        self._acted[name] = claim
        await self._done(claim)

    @asynccontextmanager
    async def once_in_term(self, consumer: str, key: str, term: Term) -> AsyncGenerator[Claim, None]:
        """As :meth:`once`, by one of several instances: not entered when the bucket knows a greater term.

        Raises:
            Superseded: another instance has taken over; the claim was given back.
        """
        async with self.once(consumer, key) as claim:
            await self._fence(term)
            yield claim

    async def _fence(self, term: Term) -> None:
        stream, _, durable = term.durable.partition(".")
        name = term_key(stream, durable)
        while True:
            cell = await self._cells.read(name)
            held, _ = read_term(cell.value if cell is not None else b"")
            if held > term.number:
                raise Superseded(term.durable, term.number, held)
            if held == term.number:
                return
            with suppress(Conflict):
                await self._cells.write(name, b"%d" % term.number, cell.revision if cell is not None else 0)
                return

    async def close(self) -> None:
        """Nothing: the connection is the caller's."""

    async def _claim(self, name: str) -> Claim:
        await self.open()
        if (acted := self._acted.get(name)) is not None:
            await self._done(acted)
            raise AlreadyDone(f"{name} was handled before, when the bucket could not be written")
        claim = Claim(name, secrets.token_hex(8))
        while not await self._put(claim, "claimed"):
            claim.revision = await self._free_at(name)
        return claim

    async def _free_at(self, name: str) -> int:
        """Wait until another's claim on ``name`` is given back or over; the revision at which it may be taken."""
        held, clock = Watched(), asyncio.get_running_loop()
        since = clock.time()
        while True:
            cell = await self._cells.read(name)
            mark, revision = self._mark(name, cell), cell.revision if cell else 0
            if mark.state == "done":
                raise AlreadyDone(f"{name} was handled before")
            if mark.state == "free":
                return revision
            if held.is_over(Lease(mark.token, revision, mark.lease)):
                log.warning("claim taken over: its owner did not renew it", key=name, lease_seconds=mark.lease)
                return revision
            if clock.time() - since > mark.lease + 2:
                raise Retry(self.lease, f"{name} is being handled by another instance")
            await asyncio.sleep(_POLL)

    async def _renew(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(self.lease / 3)
            try:
                claim.lost = not await self._put(claim, "claimed")
            except (StoreError, JetStreamUnavailable) as error:
                log.warning("lease not renewed; trying again", key=claim.key, error=str(error))
            if claim.lost:
                log.warning("lease lost: another instance took the event over", key=claim.key)
                return

    async def _done(self, claim: Claim) -> None:
        """Store that the effect happened; when the bucket is away, the next delivery does it."""
        stored = await self._put(claim, "done")
        self._acted.pop(claim.key, None)
        if not stored:
            raise LeaseLost(
                f"dedupe {claim.key}: the lease of {self.lease:g} s ended before the handler did, and another instance "
                "took the event over; its effect may have happened twice. Give a longer lease"
            )

    async def _free(self, claim: Claim) -> None:
        """Let the next delivery in at once; when that fails the lease ends by itself."""
        with suppress(StoreError, JetStreamUnavailable, BusClosed):
            await self._put(claim, "free")

    async def _put(self, claim: Claim, state: str) -> bool:
        """Bring the claim's cell to ``state``; False when somebody else holds it."""
        ttl = None if state == "done" else _SWEPT
        value = json.dumps({"state": state, "token": claim.token, "lease": self.lease}).encode()
        while True:
            try:
                claim.revision = await self._cells.write(claim.key, value, claim.revision, ttl=ttl)
            except Conflict:
                cell = await self._cells.read(claim.key)
            else:
                return True
            mark = self._mark(claim.key, cell)
            if mark.token not in ("", claim.token):
                return False
            # Ours after all: the ack of a write was lost, or a renewal was cut short; or nobody's: it was removed.
            claim.revision = cell.revision if cell else 0
            if mark.state == state:
                return True

    def _mark(self, name: str, cell: Cell | None) -> _Mark:
        """What ``cell`` says.

        Raises:
            StoreMisused: something else is stored there.
        """
        if cell is None or not cell.value:
            return _Mark("free", "", 0.0)
        try:
            document = json.loads(cell.value)
            return _Mark(str(document["state"]), str(document["token"]), float(document.get("lease", self.lease)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreMisused(
                f"dedupe {name}: bucket {self.bucket} holds something else than a mark under this key, so nobody knows "
                f"whether the event was handled: delete the key if it was not ({type(error).__name__}: {error})"
            ) from error

    def _definition(self) -> dict[str, Any]:
        return {
            "name": self._cells.stream,
            "description": "Events that consumers have handled: the dedupe store of mts1b.",
            "subjects": [f"$KV.{self.bucket}.>"],
            "retention": "limits",
            "storage": "file",
            "max_msgs_per_subject": 1,
            "max_age": int(self.memory.keep * _SECOND),
            "max_msgs": self.memory.limit,
            "discard": "old",
            "duplicate_window": min(120, int(self.memory.keep)) * _SECOND,
            "num_replicas": self._replicas,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "allow_msg_ttl": True,
            "deny_delete": True,
        }


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
