"""What the commands show and do, whoever asks: services by the server, people by the responders."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

from mts1b_foundation.operations import Alert, AlertAcknowledgement, HaltObedience, HaltRequest
from mts1b_platform.eventbus import EventBus

from mts1b_operations.deadletters.notes import note
from mts1b_operations.halt import Halt, HaltError, Requested, halts_in_force, request_halt, wait_for_obedience
from mts1b_operations.halt import clear_halt as clear_as_service
from mts1b_operations.lag import ConsumerLag, consumer_lags
from mts1b_operations.monitor.standing import Standing, acknowledge, alerts_in_force
from mts1b_operations.monitor.survey import Survey, survey
from mts1b_operations.people.asked import Scope
from mts1b_operations.people.asking import Unanswered, act, look, preview

_LOOK_AGAIN: Final = 0.25


async def lags(bus: EventBus, *, stream: str | None = None) -> list[ConsumerLag]:
    """The lag of every consumer, or of those of one stream.

    Raises:
        AccessDenied: the role may not look.
        Declined, Unanswered: the responder's word, or that there is none.
        BusError: as :func:`consumer_lags`.
    """
    if not bus.identity.has_token:
        return await consumer_lags(bus, stream=stream)
    found = [_lag(row) for row in (await look(bus, "consumers"))["consumers"]]
    return [each for each in found if stream in (None, each.stream)]


async def whole(bus: EventBus) -> Survey:
    """Streams and consumers.

    Raises:
        BusError, Declined: as :func:`lags`.
    """
    if not bus.identity.has_token:
        return await survey(bus)
    seen = await look(bus, "survey")
    return Survey(dict(seen["streams"]), [_lag(row) for row in seen["consumers"]])


def _lag(row: Mapping[str, Any]) -> ConsumerLag:
    known: dict[str, Any] = {each.name: row.get(each.name) for each in fields(ConsumerLag)}
    known["filters"] = tuple(row["filters"])
    return ConsumerLag(**known)


async def halts(bus: EventBus, fund: str | None = None) -> Sequence[Halt]:
    """The halts in force, or those that concern ``fund``.

    Raises:
        BusError, Declined: as :func:`lags`.
    """
    if not bus.identity.has_token:
        found = await halts_in_force(bus)
    else:
        try:
            found = [_halt(row) for row in (await look(bus, "halts", Scope(fund)))["halts"]]
        except Unanswered:
            found = await halts_in_force(bus)  # the stream itself, if the role reads it
    return [halt for halt in found if fund is None or halt.request.fund_id in (None, fund)]


async def halt(bus: EventBus, *, fund: str | None, reason: str, actor: str, request_id: str | None = None) -> Requested:
    """Stop trading. A person is named by the server, whatever ``actor`` says.

    Raises:
        BusError, Declined: it could not be.
    """
    if not bus.identity.has_token:
        return await request_halt(bus, fund_id=fund, reason=reason, actor=actor)
    done = await act(bus, "halt.request", Scope(fund), request_id=request_id, reason=reason)
    return Requested(_request(done["halt"]), bool(done["held"]))


async def obedience(
    bus: EventBus, requested: HaltRequest, services: Sequence[str], *, timeout: timedelta
) -> tuple[Halt, Sequence[str]]:
    """The halt, and which of ``services`` have not said within ``timeout`` that they obey.

    Raises:
        HaltError: it is not in force any more.
        BusError, Declined: as :func:`lags`.
    """
    if not bus.identity.has_token:
        return await wait_for_obedience(bus, requested, services, timeout=timeout)
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout.total_seconds()
    while True:
        in_force = await halts(bus, requested.fund_id)
        found = next((each for each in in_force if each.request.halt_id == requested.halt_id), None)
        if found is None:
            raise HaltError(f"halt {requested.halt_id} is not in force: it was cleared meanwhile")
        silent = [service for service in services if service not in found.obeyed]
        if not silent or loop.time() >= end:
            return found, silent
        await asyncio.sleep(_LOOK_AGAIN)


async def clear(
    bus: EventBus, halt_id: str, *, reason: str, actor: str, fund: str | None = None, request_id: str | None = None
) -> str:
    """Let trading go on; what was cleared, in words.

    Raises:
        BusError, Declined: it could not be.
    """
    if not bus.identity.has_token:
        await clear_as_service(bus, halt_id, reason=reason, actor=actor)
        return f"halt {halt_id} is cleared"
    scope = Scope(fund)
    shown = await preview(bus, "halt.clear", scope, halt_id=halt_id)
    await act(bus, "halt.clear", scope, request_id=request_id, halt_id=halt_id, digest=shown["digest"], reason=reason)
    return f"halt {halt_id} is cleared: it {shown['preview']}"


async def alerts(bus: EventBus) -> Sequence[Standing]:
    """The alerts in force and who looks after them.

    Raises:
        BusError, Declined: as :func:`lags`.
    """
    if not bus.identity.has_token:
        return await alerts_in_force(bus)
    return [_standing(row) for row in (await look(bus, "alerts"))["alerts"]]


async def acknowledge_alert(bus: EventBus, alert_id: str, *, note: str, actor: str) -> str:
    """Say that ``actor`` looks after an alert; what was said, in words. A person is named by the server.

    Raises:
        NoSuchAlert, BusError, Declined: it could not be.
    """
    if not bus.identity.has_token:
        await acknowledge(bus, alert_id, actor=actor, note=note)
        return f"{actor} looks after alert {alert_id}"
    done = await act(bus, "alerts.acknowledge", alert_id=alert_id, note=note)
    return f"{done['by']} looks after alert {alert_id}"


async def note_letters(bus: EventBus, about: str, *, text: str, actor: str, fund: str | None = None) -> str:
    """Write a note on a dead letter or a group; what was written, in words. A person is named by the server.

    Raises:
        DeadLetterError, AuditError, BusError, Declined: it could not be.
    """
    if not bus.identity.has_token:
        said = (await note(bus, about, text=text, actor=actor)).about
    else:
        said = (await act(bus, "deadletters.note", Scope(fund), about=about, note=text))["note"]["about"]
    return f"noted on {said}" if text else f"{said} has no note any more"


def _standing(row: Mapping[str, Any]) -> Standing:
    said = row.get("acknowledged")
    alert = {name: value for name, value in row.items() if name != "acknowledged"}
    return Standing(
        Alert.model_validate_json(json.dumps(alert)),
        None if said is None else AlertAcknowledgement.model_validate_json(json.dumps(said)),
    )


def _request(document: object) -> HaltRequest:
    return HaltRequest.model_validate_json(json.dumps(document))


def _halt(row: Mapping[str, Any]) -> Halt:
    stored_at = datetime.fromisoformat(row["stored_at"])
    found = Halt(_request(row["request"]), stored_at, on_host=bool(row.get("on_host")))
    for each in row["obeyed"]:
        said = HaltObedience.model_validate_json(json.dumps(each["obedience"]))
        found.obeyed[said.service] = said, datetime.fromisoformat(each["stored_at"])
    return found
