"""Halts in force, who obeyed and who is silent; alerts in force and past."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mts1b_foundation.operations import Alert as Raised
from mts1b_foundation.operations import AlertAcknowledgement, AlertSeverity
from mts1b_foundation.subjects import decode_token
from mts1b_operations.halt import Halt as InForce
from mts1b_operations.halt import halts_in_force
from mts1b_operations.monitor.standing import Standing
from mts1b_operations.people.views import alerts as alerts_for
from mts1b_operations.people.views import halts as halts_for
from mts1b_platform.eventbus import AccessDenied, BusError
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.history.recorded import nanoseconds

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered, at, moment_of
from mts1b_console.read.follow import Followed, kept
from mts1b_console.read.orders import Blotter
from mts1b_console.shapes.person import Rights
from mts1b_console.shapes.state import Acknowledgement, Alert, Alerts, Halt, Halts, Obedience

HALTS: Final = "OPERATIONS_HALTS"
ALERTS: Final = "OPERATIONS_ALERTS"
PROBES: Final = "OPERATIONS_PROBES"
_MONTH_NS: Final = 30 * 86_400 * 1_000_000_000
_QUIET: Final = 120.0
"""Seconds without a word of the monitor after which nobody watches."""


async def halts(person: Person) -> Halts:
    """The halts in force that concern this person."""

    async def work() -> dict[str, Any]:
        return {"halts": [_halt(each, person.obeying) for each in await _in_force(person)]}

    return await answered(person, Halts, work, funds=_funds(person))


async def _in_force(person: Person) -> list[InForce]:
    """By their stream, which needs nobody and is right at once; a role that does not read it looks them up.

    Raises:
        BusError, Declined: they cannot be read.
    """
    try:
        person.refuse_stream(HALTS)
        return list(await halts_in_force(person.bus))
    except AccessDenied:
        funds = funds_looked_at(person.rights, "halts")
        if funds == [None]:
            person.refuse_look("halts")
        found = {halt.request.halt_id: halt for fund in funds for halt in await halts_for(person.bus, fund)}
        return list(found.values())


def funds_looked_at(rights: Rights | None, what: str) -> list[str | None]:
    """For which funds a person looks something up: None for all of them at once."""
    named = [] if rights is None else [_fund(pattern, f"{what}.fund.") for pattern in rights.looks]
    funds = [each for each in named if each is not None]
    if not funds or rights is None or any(pattern in (">", f"{what}.>", f"{what}.all") for pattern in rights.looks):
        return [None]
    return list(funds)


def _fund(pattern: str, prefix: str) -> str | None:
    rest = pattern.removeprefix(prefix)
    return decode_token(rest) if pattern.startswith(prefix) and rest not in ("*", ">") and "." not in rest else None


def _funds(person: Person) -> list[str]:
    """The funds that are known: of the orders that were seen, and of the rights."""
    held = person.kept.get("blotter")
    seen = {line.order.fund_id for line in held.lines.values()} if isinstance(held, Blotter) else set[str]()
    patterns = person.rights.acts if person.rights is not None else []
    named = {fund for pattern in patterns if (fund := _fund(pattern, "halt.request.fund.")) is not None}
    return sorted(seen | named)


def _halt(halt: InForce, obeying: tuple[str, ...]) -> Halt:
    request = halt.request
    return Halt(
        halt_id=request.halt_id,
        fund=request.fund_id,
        reason=request.reason,
        actor=request.actor,
        requested_at=moment_of(request.requested_at),
        stored_at=moment_of(halt.stored_at),
        on_host=halt.on_host,
        obeyed=[
            Obedience(
                service=name,
                canceled_orders=said.canceled_orders,
                stored_at=moment_of(stored),
                after_ms=round((stored - halt.stored_at).total_seconds() * 1000, 1),
            )
            for name, (said, stored) in halt.obeyed.items()
        ],
        silent=[] if halt.on_host else [name for name in obeying if name not in halt.obeyed],
    )


@dataclass(slots=True)
class _Alerts:
    """The alerts of the stream, the newest word about each, and who looks after it."""

    followed: Followed = field(default_factory=lambda: Followed(ALERTS, newest=5_000))
    found: dict[str, Standing] = field(default_factory=dict[str, Standing])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def alerts(person: Person) -> Alerts:
    """The alerts in force, and those of the last 30 days."""

    async def work() -> dict[str, Any]:
        try:
            known = await _from_stream(person)
        except AccessDenied:  # a role that may look alerts up and does not read their stream
            person.refuse_look("alerts")
            return {"alerts": _sorted(await alerts_for(person.bus)), "past": None, "watched": None}
        cleared = [each for each in known if _lately(each.alert)]
        past = sorted(cleared, key=lambda each: each.alert.raised_at, reverse=True)
        return {
            "alerts": _sorted([each for each in known if each.alert.cleared_at is None]),
            "past": [_alert(each) for each in past],
            "watched": await _watched(person),
        }

    return await answered(person, Alerts, work)


async def _from_stream(person: Person) -> list[Standing]:
    held = kept(person, "alerts", _Alerts)
    async with held.lock:
        events, anew = await held.followed.new(person)
        if anew:
            held.found.clear()
        for seen in events:
            match seen.payload:
                case Raised() as alert:
                    held.found[alert.alert_id] = Standing(alert, None)
                case AlertAcknowledgement() as said if said.alert_id in held.found:
                    held.found[said.alert_id] = Standing(held.found[said.alert_id].alert, said)
                case _:
                    pass
        return list(held.found.values())


async def _watched(person: Person) -> bool | None:
    """Whether the monitor has stored a probe lately; None when this person may not know."""
    try:
        person.refuse_stream(PROBES)
        history = await open_history(person.bus, PROBES)
        first, last = await history.extent()
        newest = await history.get(last) if last >= first else None
    except BusError:
        return None
    return newest is not None and time.time() - newest.time_ns / 1e9 < _QUIET


def _lately(alert: Raised) -> bool:
    cleared = alert.cleared_at
    return cleared is not None and time.time_ns() - nanoseconds(cleared) < _MONTH_NS


def _sorted(found: Sequence[Standing]) -> list[Alert]:
    """Those that nobody looks after first, then critical ones, then the oldest."""

    def order(each: Standing) -> tuple[bool, bool, datetime]:
        return each.acknowledged is not None, each.alert.severity is not AlertSeverity.CRITICAL, each.alert.raised_at

    return [_alert(each) for each in sorted(found, key=order)]


def _alert(standing: Standing) -> Alert:
    alert, said = standing.alert, standing.acknowledged
    return Alert(
        alert_id=alert.alert_id,
        name=alert.name,
        target=alert.target,
        severity=alert.severity.value,
        value=alert.value,
        threshold=alert.threshold,
        unit=alert.unit,
        summary=alert.summary,
        raised_at=moment_of(alert.raised_at),
        cleared_at=at(alert.cleared_at),
        acknowledged=said and Acknowledgement(actor=said.actor, note=said.note, at=moment_of(said.acknowledged_at)),
    )
