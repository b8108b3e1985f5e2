"""Having something done: previewed, confirmed, done once."""

import shlex
from typing import Any, Final

from mts1b_operations.people.action import REASON
from mts1b_operations.people.asked import Scope

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused
from mts1b_console.read.answer import now
from mts1b_console.read.deadletters import forget
from mts1b_console.shapes.person import ActDone, ActPreview, ActRequest

ADDS_RISK: Final = frozenset({"halt.clear", "deadletters.requeue", "deadletters.discard"})
"""What needs a reason, the digest of a preview, and a phrase that is typed."""
KNOWN: Final = ADDS_RISK | {"halt.request", "alerts.acknowledge", "deadletters.restore", "deadletters.note"}


async def preview(person: Person, what: str, request: ActRequest) -> ActPreview:
    """What an action would do.

    Raises:
        Declined, BusError: it would not be done, and why.
    """
    asked = _asked(what, request)
    if what == "halt.request":
        asked["reason"] = request.reason or "not given yet"
    shown = await person.backing.preview(what, Scope(request.fund), **asked)
    return ActPreview(
        read_at=now(),
        words=str(shown["preview"]),
        facts=dict(shown["facts"]),
        digest=str(shown["digest"]),
        adds_risk=what in ADDS_RISK,
        typed=phrase(what, request),
        command=command(what, request),
    )


async def act(person: Person, what: str, request: ActRequest) -> ActDone:
    """Have an action done.

    Raises:
        Refused: it is not confirmed as it has to be.
        Declined, BusError: it was not done, and why; or it may have been done, and the same request id finds out.
    """
    if not request.request_id or not 16 <= len(request.request_id) <= 100:
        raise Refused(400, "bad-request", "an action needs a request_id of 16 to 100 letters", "make one up")
    asked = _asked(what, request)
    if what in ADDS_RISK:
        if request.typed != phrase(what, request):
            raise Refused(400, "not-confirmed", f"type {phrase(what, request)!r} to confirm", "nothing was done")
        if len((request.reason or "").strip()) < REASON:
            raise Refused(400, "bad-request", f"a reason of {REASON} letters or more is needed", "say why")
        asked["digest"] = request.digest
    done = await person.backing.act(what, Scope(request.fund), request_id=request.request_id, **asked)
    forget(person)
    person.kept.pop("now", None)
    known = ("request_id", "by", "state", "again")
    return ActDone(
        read_at=now(),
        request_id=str(done["request_id"]),
        by=str(done["by"]),
        state=str(done["state"]),
        again=bool(done.get("again")),
        result={name: value for name, value in done.items() if name not in known},
    )


def _asked(what: str, request: ActRequest) -> dict[str, Any]:
    """What the action takes, of what was sent.

    Raises:
        Refused: there is no such action.
    """
    if what not in KNOWN:
        raise Refused(404, "unknown", f"there is no action {what!r}", f"one of {', '.join(sorted(KNOWN))}")
    asked: dict[str, Any] = {"reason": request.reason}
    match what:
        case "halt.clear":
            asked["halt_id"] = request.halt_id
        case "alerts.acknowledge":
            asked = {"alert_id": request.alert_id, "note": request.note}
        case "deadletters.requeue":
            asked |= _letters(request) | {"to": request.to, "force": request.force}
        case "deadletters.discard":
            asked |= _letters(request)
        case "deadletters.note":
            asked = {"about": request.about, "note": request.note}
        case "deadletters.restore":
            asked = _letters(request) | {"undo": request.undo}
        case _:
            pass
    return asked


def _letters(request: ActRequest) -> dict[str, Any]:
    """Which letters, and whether the responders carry it through by themselves."""
    run = {"run": True, "first": request.first} if request.run else {}
    return {"ids": request.ids, **run}


async def order(person: Person, what: str, request: ActRequest) -> ActDone:
    """Have a run go on, stop or end.

    Raises:
        Declined, BusError: it does not, and why.
    """
    _asked(what, request)
    said = await person.backing.order(what, Scope(request.fund), run_id=request.run_id, order=request.order)
    forget(person)
    return ActDone(
        read_at=now(),
        request_id=request.request_id or "",
        by=str(said["by"]),
        state=str(said["state"]),
        again=False,
        result={"run_id": said["run_id"]},
    )


def phrase(what: str, request: ActRequest) -> str:
    """What is typed to confirm an action; empty when it reduces risk."""
    if what == "halt.clear":
        return f"resume {request.fund or 'all'}"
    if what in ADDS_RISK:
        return f"{what.rpartition('.')[2]} {len(request.ids or ())}"
    return ""


def command(what: str, request: ActRequest) -> str:
    """The same from a terminal."""
    reason = f"--reason {shlex.quote(request.reason or 'why')}"
    fund = f"--fund {shlex.quote(request.fund)}" if request.fund else ""
    match what:
        case "halt.request":
            words = ["mts1b halt request", fund or "--all", reason]
        case "halt.clear":
            words = ["mts1b halt clear", shlex.quote(request.halt_id or "HALT"), fund, reason]
        case "deadletters.restore":
            words = ["mts1b deadletters restore", *map(shlex.quote, request.ids or ()), fund]
        case "deadletters.note":
            note = f"--note {shlex.quote(request.note or '')}"
            words = ["mts1b deadletters note", shlex.quote(request.about or "LETTER"), note, fund]
        case "alerts.acknowledge":
            note = f"--note {shlex.quote(request.note)}" if request.note else ""
            words = ["mts1b alerts acknowledge", shlex.quote(request.alert_id or "ALERT"), note]
        case _:
            verb = what.rpartition(".")[2]
            to = f"--to {request.to}" if request.to and verb == "requeue" else ""
            why = f"--why {shlex.quote(request.reason or 'why')}"
            words = [f"mts1b deadletters {verb}", *map(shlex.quote, request.ids or ()), to, fund, why]
    return " ".join(word for word in words if word)
