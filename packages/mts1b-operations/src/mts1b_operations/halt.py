"""Halts: stop trading of one fund or all, see which services obeyed, resume trading.

A halt is an event in a stream that keeps it for a year, so that a service which starts later learns of it at once. It
holds until its clearance, whatever restarts in between.

No order is accepted after the halt was stored. As the server cannot make a publish to one stream depend on another,
the order management is asked to hold first (``svc.v1.oms.hold``): it answers when everything that it has accepted is in
its stream, and accepts nothing more before it has read the halt. One that does not answer within a second is down or
cannot be reached: the halt is stored without waiting for it, and it reads all halts when it starts, before it accepts.
A halt that was stored without a hold, or after the hold had ended, says so (:attr:`Requested.held`).
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import HaltClearance, HaltObedience, HaltRequest
from mts1b_foundation.subjects import (
    BROKERS_HALT_RESUMED,
    BROKERS_HALT_STOPPED,
    OMS_HALT_OBEYED,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_HALT_REQUESTED,
    DurableSubject,
)
from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.errors import NoResponders
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.audit import AuditError, audit_action
from mts1b_platform.threads import in_thread

log = get_logger("mts1b.operations.halt")

REPO = "mts1b-operations"
_BROKERS = "mts1b-brokers"
_STREAM = "OPERATIONS_HALTS"

_HOLD = "svc.v1.oms.hold"
_HOLD_WITHIN = 1.0
"""Seconds that a halt waits for the order management at most."""
_NOTED_WITHIN = 0.25
"""Seconds that a halt waits for the audit log at most."""
_LOOK_AGAIN = 0.5
"""Seconds after which the stream is read again for who has obeyed, whether a live event came or not."""

_SUBJECTS: tuple[DurableSubject[Any], ...] = (
    OPERATIONS_HALT_REQUESTED,
    OPERATIONS_HALT_CLEARED,
    BROKERS_HALT_STOPPED,
    BROKERS_HALT_RESUMED,
    OMS_HALT_OBEYED,
)


class HaltError(BusError):
    """A halt cannot be requested or cleared as asked."""


class Requested(NamedTuple):
    """A halt that is in force, and what that means for orders that were being accepted."""

    halt: HaltRequest
    held: bool
    """Whether the order management held from before the halt was stored until then, so that nothing was accepted after
    it. When not, no order management runs, or it accepts until it has read the halt."""


@dataclass(slots=True)
class Halt:
    """One halt in force."""

    request: HaltRequest
    stored_at: datetime
    """When the stream stored the request."""
    obeyed: dict[str, tuple[HaltObedience, datetime]] = field(default_factory=dict[str, tuple[HaltObedience, datetime]])
    """Services that have stopped, and when the stream stored their confirmation."""
    on_host: bool = False
    """Whether an adapter was stopped on its host: it is ended there."""

    @property
    def scope(self) -> str:
        """The scope as text for people."""
        if self.on_host:
            return "the adapter on its host"
        return "every fund" if self.request.fund_id is None else f"fund {self.request.fund_id}"


async def request_halt(
    bus: EventBus, *, fund_id: str | None, reason: str, actor: str, halt_id: str | None = None, **noted: Any
) -> Requested:
    """Halt ``fund_id``, or every fund when it is None. The halt is stored, and in force, when this returns.

    It is recorded in the audit log, where there is one, before and after. An audit log that fails, or takes longer
    than a quarter of a second, holds up no halt: that is logged as an error.

    Args:
        bus: the connection.
        fund_id: whom to halt.
        reason: why, for everybody whom it concerns.
        actor: who halts.
        halt_id: under which it is known; the same one twice is one halt. Made up when left out.
        noted: what else the audit log shall say of it.

    Raises:
        BusError: it could not be stored.
    """
    halt_id = halt_id or f"halt-{secrets.token_hex(4)}"
    request = HaltRequest(halt_id=halt_id, fund_id=fund_id, reason=reason, actor=actor, requested_at=utc_now())
    noted |= {"actor": actor, "halt_id": halt_id, "fund_id": fund_id, "reason": reason}
    await _note(bus, "halt.request", noted)
    hold = _Hold(bus, request)
    await hold.begin()
    keeping = asyncio.create_task(hold.keep())
    try:
        ack = await bus.emit(OPERATIONS_HALT_REQUESTED, request)
        held = hold.lasts
    finally:
        keeping.cancel()
    await _note(bus, "halt.requested", {**noted, "stored": f"{ack.stream}:{ack.seq}", "held": held})
    return Requested(request, held)


async def _note(bus: EventBus, action: str, noted: Mapping[str, Any]) -> None:
    """Record what a halt does; the trouble of it is nobody's who wants to halt."""
    try:
        async with asyncio.timeout(_NOTED_WITHIN):
            await in_thread(partial(audit_action, bus, action, **noted))
    except (AuditError, TimeoutError) as error:
        why = str(error) or f"it took longer than {_NOTED_WITHIN:g} s"
        log.error("the audit log misses a halt", action=action, error=why, **noted)


class _Hold:
    """The order management's promise, valid for some seconds, to accept no order before one halt has reached it."""

    def __init__(self, bus: EventBus, request: HaltRequest) -> None:
        self._bus = bus
        self._body = json.dumps({"halt_id": request.halt_id}).encode()
        self._end = 0.0

    @property
    def lasts(self) -> bool:
        """Whether it was given at the start and has not expired since."""
        return asyncio.get_running_loop().time() < self._end

    async def begin(self) -> None:
        """Ask for it; takes a second at most."""
        self._end = await self._ask()

    async def keep(self) -> None:
        """Renew it, as storing the halt may take longer than it lasts when the server is away."""
        while True:
            await asyncio.sleep(2 * _HOLD_WITHIN)
            end = await self._ask()
            if self.lasts:
                self._end = max(self._end, end)

    async def _ask(self) -> float:
        """The loop time until which no order will be accepted; 0 without an answer."""
        asked = asyncio.get_running_loop().time()  # it is given after this, so it lasts from here at least
        try:
            answer = await self._bus.request(_HOLD, self._body, timeout=_HOLD_WITHIN)
        except NoResponders:
            return 0.0  # none runs here: there is nobody who could accept
        except BusError as error:
            log.warning("the order management cannot be asked to hold; the halt is stored at once", error=str(error))
            return 0.0
        return asked + _seconds_of(answer.data)


def _seconds_of(answer: bytes) -> float:
    """How long the order management holds; 0 when its answer is a refusal."""
    try:
        return float(json.loads(answer)["seconds"])
    except (ValueError, KeyError, TypeError):
        return 0.0


async def clear_halt(bus: EventBus, halt_id: str, *, reason: str, actor: str, **noted: Any) -> HaltClearance:
    """End the halt ``halt_id``. It is recorded in the audit log first, where there is one.

    Raises:
        HaltError: no such halt is in force.
        AuditError: it cannot be recorded; the halt stays in force.
    """
    in_force = {halt.request.halt_id: halt for halt in await halts_in_force(bus)}
    if halt_id not in in_force:
        known = ", ".join(in_force) or "none"
        raise HaltError(f"no halt {halt_id!r} is in force (in force: {known}); `mts1b halt ls` shows them")
    if in_force[halt_id].on_host:
        raise HaltError(
            f"{halt_id} is a stop on a host ({in_force[halt_id].request.actor}): end it there with "
            "`mts1b halt here --clear`"
        )
    clearance = HaltClearance(
        halt_id=halt_id,
        fund_id=in_force[halt_id].request.fund_id,
        reason=reason,
        actor=actor,
        cleared_at=utc_now(),
    )
    noted |= {"actor": actor, "halt_id": halt_id, "fund_id": clearance.fund_id, "reason": reason}
    audit_action(bus, "halt.clear", **noted)
    await bus.emit(OPERATIONS_HALT_CLEARED, clearance)
    return clearance


async def halts_in_force(bus: EventBus) -> Sequence[Halt]:
    """Every halt that was requested and not cleared, oldest first, with who obeyed it."""
    found: dict[str, Halt] = {}
    decoder = Decoder(_SUBJECTS)
    history = await open_history(bus, _STREAM)
    async with aclosing(history.messages()) as stored:
        async for message in stored:
            try:
                registered, _, payload, _ = decoder.decode(message.wire)
            except Refused as refused:
                log.warning("a message among the halts is none", reason=str(refused))
                continue
            _fold(found, payload, message.time, on_host=registered.producer == _BROKERS)
    return tuple(found.values())


async def wait_for_obedience(
    bus: EventBus, halt: HaltRequest, services: Sequence[str], *, timeout: timedelta
) -> tuple[Halt, Sequence[str]]:
    """Wait until all ``services`` have said that they obey; returns the halt and who has not said so in time.

    Raises:
        HaltError: the halt is not in force (any more).
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout.total_seconds()
    async with bus.listen(OMS_HALT_OBEYED) as heard:
        while True:
            found = next((each for each in await halts_in_force(bus) if each.request.halt_id == halt.halt_id), None)
            if found is None:
                raise HaltError(f"halt {halt.halt_id} is not in force: it was cleared meanwhile")
            silent = [service for service in services if service not in found.obeyed]
            left = end - loop.time()
            if not silent or left <= 0:
                return found, silent
            with contextlib.suppress(TimeoutError):
                # What is heard may not be stored yet.
                async with asyncio.timeout(min(left, _LOOK_AGAIN)):
                    await anext(heard)


def _fold(found: dict[str, Halt], payload: object, stored_at: datetime, *, on_host: bool) -> None:
    match payload:
        case HaltRequest():
            found[payload.halt_id] = Halt(payload, stored_at, on_host=on_host)
        case HaltClearance():
            found.pop(payload.halt_id, None)
        case HaltObedience():
            if payload.halt_id in found:
                found[payload.halt_id].obeyed.setdefault(payload.service, (payload, stored_at))
        case _:
            pass
