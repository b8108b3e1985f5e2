"""What people may have done: halts, alerts, and what becomes of dead letters."""

from collections.abc import Mapping
from typing import Any, Final

from mts1b_platform.eventbus import EventBus
from mts1b_platform.observability.audit import AuditError

from mts1b_operations.halt import Halt, clear_halt, halts_in_force, request_halt
from mts1b_operations.monitor.standing import NoSuchAlert, acknowledge, alerts_in_force
from mts1b_operations.people.action import REASON, Action, Preview, id_of
from mts1b_operations.people.asked import Asked, Declined
from mts1b_operations.people.letter_actions import Discard, Requeue, Restore
from mts1b_operations.people.note_action import NoteLetters


class RequestHalt:
    """Stop trading of one fund or all."""

    adds_risk = False

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:  # noqa: ARG002 - nothing has to be looked up
        """What a halt does."""
        reason = asked.text("reason", least=1)
        words = (
            f"halts {asked.scope.words}: no new order is accepted and working orders are withdrawn, until it is cleared"
        )
        return Preview(words, {"reason": reason})

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,
        again: bool,  # noqa: ARG002 - the same id twice is one halt
    ) -> Mapping[str, Any]:
        """Store the halt."""
        halt, held = await request_halt(
            bus,
            fund_id=asked.scope.fund,
            reason=str(facts["reason"]),
            actor=asked.by,
            halt_id=id_of("halt", asked.by, request_id),
            request_id=request_id,
            address=asked.address,
        )
        return {"halt": halt.model_dump(mode="json"), "held": held}


class ClearHalt:
    """Let trading go on."""

    adds_risk = True

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """Which halt ends, and which others stay."""
        halt_id = asked.text("halt_id", least=1, most=200)
        in_force = {halt.request.halt_id: halt for halt in await halts_in_force(bus)}
        halt = in_force.get(halt_id)
        if halt is None or not _within(halt, asked):
            theirs = ", ".join(each for each, found in in_force.items() if _within(found, asked)) or "none"
            raise Declined("not-found", f"no halt {halt_id!r} of {asked.scope.words} is in force (in force: {theirs})")
        others = len(in_force) - 1
        words = f"ends the halt of {halt.scope} that {halt.request.actor} requested ({halt.request.reason})"
        return Preview(f"{words}; {others} other halts stay" if others else words, {"halt_id": halt_id})

    async def do(
        self, bus: EventBus, asked: Asked, facts: Mapping[str, Any], *, request_id: str, again: bool
    ) -> Mapping[str, Any]:
        """Store the clearance."""
        halt_id = str(facts["halt_id"])
        if again and not any(halt.request.halt_id == halt_id for halt in await halts_in_force(bus)):
            return {"halt_id": halt_id, "cleared": True}
        await clear_halt(
            bus,
            halt_id,
            reason=asked.text("reason", least=REASON),
            actor=asked.by,
            request_id=request_id,
            address=asked.address,
        )
        return {"halt_id": halt_id, "cleared": True}


class AcknowledgeAlert:
    """Say that somebody looks after an alert, so that it need not be told again."""

    adds_risk = False

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """Which alert."""
        if asked.scope.fund is not None:
            raise Declined("bad-request", "an alert is about the whole bus, not of one fund", f"ask {asked.what}.all")
        alert_id, note = asked.text("alert_id", least=1, most=200), asked.text("note")
        standing = {each.alert.alert_id: each for each in await alerts_in_force(bus)}.get(alert_id)
        if standing is None:
            raise Declined("not-found", f"alert {alert_id!r} is not in force", "look again")
        before = standing.acknowledged
        already = f"; {before.actor} does so already" if before else ""
        words = f"says that {asked.by} looks after {standing.alert.name} of {standing.alert.target}{already}"
        return Preview(words, {"alert_id": alert_id, "note": note})

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,
        again: bool,  # noqa: ARG002 - the same id twice is one acknowledgement
    ) -> Mapping[str, Any]:
        """Store it."""
        try:
            said = await acknowledge(
                bus,
                str(facts["alert_id"]),
                actor=asked.by,
                note=str(facts["note"]),
                acknowledgement_id=id_of("ack", asked.by, request_id),
                request_id=request_id,
                address=asked.address,
            )
        except (NoSuchAlert, AuditError) as error:
            raise Declined("refused", str(error)) from None
        return {"acknowledged": said.model_dump(mode="json")}


def _within(halt: Halt, asked: Asked) -> bool:
    """Whether it is a halt of the scope: one of every fund ends for every fund only."""
    return asked.scope.fund is None or halt.request.fund_id == asked.scope.fund


ACTIONS: Final[Mapping[str, Action]] = {
    "halt.request": RequestHalt(),
    "halt.clear": ClearHalt(),
    "alerts.acknowledge": AcknowledgeAlert(),
    "deadletters.requeue": Requeue(),
    "deadletters.discard": Discard(),
    "deadletters.restore": Restore(),
    "deadletters.note": NoteLetters(),
}
"""By noun and verb."""
