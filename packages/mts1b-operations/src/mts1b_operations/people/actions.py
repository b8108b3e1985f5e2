"""What people may have done: each action says first what it would do, and can be gone on with after a kill."""

import hashlib
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mts1b_platform.eventbus import EventBus
from mts1b_platform.observability.audit import AuditError

from mts1b_operations.deadletters.ends import DeadLetterError
from mts1b_operations.deadletters.letters import Letter, Selection, each_letter
from mts1b_operations.deadletters.republish import OwnerAway
from mts1b_operations.deadletters.requeue import Target, discard, requeue
from mts1b_operations.halt import Halt, clear_halt, halts_in_force, request_halt
from mts1b_operations.people.asked import Asked, Declined

MOST_LETTERS: Final = 100
"""Dead letters of one request; more go in pages."""
REASON: Final = 10
"""Letters that the reason of what adds risk has at least."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be done.

    Attributes:
        words: for people.
        facts: what it is about, which the digest covers: when they are others, it is another action.
    """

    words: str
    facts: Mapping[str, Any]


class Action(Protocol):
    """Something to have done."""

    adds_risk: bool
    """Whether a reason, a preview and an audit record have to come first. A halt reduces risk."""

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """What would be done.

        Raises:
            Declined: it cannot be, or not within the scope asked for.
        """
        ...

    async def do(
        self, bus: EventBus, asked: Asked, facts: Mapping[str, Any], *, request_id: str, again: bool
    ) -> Mapping[str, Any]:
        """Do it, or go on with it (``again``); what was done.

        Raises:
            Declined: it was not done.
            BusError: the server does not answer; it may have been done.
        """
        ...


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
            halt_id=halt_id_of(asked.by, request_id),
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


class Requeue:
    """Have the messages of dead letters handled again."""

    adds_risk = True

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """Which letters, and for whom."""
        to, force = _target(asked), bool(asked.body.get("force"))
        found = await _letters(bus, asked)
        whom = "the durable that gave up" if to == "consumer" else "everyone who reads the subject"
        for letter in found:
            await _declining(requeue(bus, letter, to=to, actor=asked.by, dry_run=True, force=force))
        return Preview(
            f"requeues {len(found)} dead letters for {whom}",
            {"ids": [letter.id for letter in found], "to": to, "force": force},
        )

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,  # noqa: ARG002 - each letter has one end of its own
        again: bool,
    ) -> Mapping[str, Any]:
        """Requeue each; one that is refused does not keep the others."""
        away: dict[str, str] = {}

        async def one(letter: Letter) -> str:
            owner = letter.letter.subject.split(".")[2]
            if owner in away:
                raise DeadLetterError(away[owner])
            try:
                done = await requeue(bus, letter, to=_to(facts["to"]), actor=asked.by, force=bool(facts.get("force")))
            except OwnerAway as error:
                away[owner] = str(error)
                raise
            return done.detail

        return await _each(bus, asked, facts, one, again=again)


class Discard:
    """Delete dead letters for good."""

    adds_risk = True

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """Which letters."""
        found = await _letters(bus, asked)
        return Preview(f"deletes {len(found)} dead letters for good", {"ids": [letter.id for letter in found]})

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,  # noqa: ARG002 - as above
        again: bool,
    ) -> Mapping[str, Any]:
        """Discard each."""

        async def one(letter: Letter) -> str:
            return (await discard(bus, letter, actor=asked.by, reason=asked.text("reason"))).detail

        return await _each(bus, asked, facts, one, again=again)


class _One(Protocol):
    async def __call__(self, letter: Letter, /) -> str: ...


async def _each(bus: EventBus, asked: Asked, facts: Mapping[str, Any], one: _One, *, again: bool) -> Mapping[str, Any]:
    ids = tuple(map(str, facts["ids"]))
    there = {letter.id: letter for letter in await _selected(bus, asked, ids)}
    done: list[dict[str, str]] = []
    refused: list[dict[str, str]] = []
    for name in ids:
        if (letter := there.get(name)) is None:
            done.append({"id": name, "detail": "done before" if again else "gone meanwhile"})
            continue
        try:
            done.append({"id": name, "detail": await one(letter)})
        except (DeadLetterError, AuditError) as error:
            refused.append({"id": name, "why": str(error)})
    return {"done": done, "refused": refused}


async def _letters(bus: EventBus, asked: Asked) -> list[Letter]:
    """The letters that are named, each of them there and within the scope.

    Raises:
        Declined: one is not.
    """
    ids = asked.texts("ids", most=MOST_LETTERS)
    if not ids:
        raise Declined("bad-request", "no dead letters are named", "give their ids")
    found = await _selected(bus, asked, ids)
    known = {name for letter in found for name in letter.names}
    if missing := [name for name in ids if name not in known]:
        raise Declined(
            "not-found", f"there is no dead letter {', '.join(missing[:5])} of {asked.scope.words}", "look again"
        )
    return found


async def _selected(bus: EventBus, asked: Asked, ids: tuple[str, ...]) -> list[Letter]:
    async with aclosing(each_letter(bus, Selection(ids=ids), [])) as found:
        return [letter async for letter in found if asked.scope.covers(letter.letter.subject)]


async def _declining(work: Any) -> None:
    try:
        await work
    except DeadLetterError as error:
        raise Declined("refused", str(error)) from error


def _target(asked: Asked) -> Target:
    try:
        return _to(asked.text("to") or "consumer")
    except ValueError:
        raise Declined("bad-request", "'to' is consumer or subject") from None


def _to(value: object) -> Target:
    if value == "consumer":
        return "consumer"
    if value == "subject":
        return "subject"
    raise ValueError(value)


def _within(halt: Halt, asked: Asked) -> bool:
    """Whether it is a halt of the scope: one of every fund ends for every fund only."""
    return asked.scope.fund is None or halt.request.fund_id == asked.scope.fund


def halt_id_of(by: str, request_id: str) -> str:
    """The id of the halt that a request makes: a repeated one makes the same."""
    text = f"{by} {request_id}"
    return f"halt-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


ACTIONS: Final[Mapping[str, Action]] = {
    "halt.request": RequestHalt(),
    "halt.clear": ClearHalt(),
    "deadletters.requeue": Requeue(),
    "deadletters.discard": Discard(),
}
"""By noun and verb."""
