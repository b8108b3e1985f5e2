"""What people may have done about dead letters: a hundred at once, or more as a run of the responders."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

from mts1b_platform.eventbus import EventBus
from mts1b_platform.observability.audit import AuditError

from mts1b_operations.deadletters.discard import discard, restore
from mts1b_operations.deadletters.ends import DeadLetterError
from mts1b_operations.deadletters.letters import Letter, Selection, each_letter
from mts1b_operations.deadletters.republish import OwnerAway
from mts1b_operations.deadletters.requeue import Target, requeue
from mts1b_operations.people.action import Preview, id_of
from mts1b_operations.people.asked import Asked, Declined
from mts1b_operations.people.runs import MOST_LETTERS as MOST_OF_RUN
from mts1b_operations.people.runs import Run, Runs, now

MOST_LETTERS: Final = 100
"""Dead letters of one request; more go in pages, or in a run."""


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
            f"requeues {len(found)} dead letters for {whom}{_steps(asked)}",
            {"ids": [letter.id for letter in found], "to": to, "force": force, **_as_run(asked)},
        )

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,
        again: bool,
    ) -> Mapping[str, Any]:
        """Requeue each; one that is refused does not keep the others."""
        if facts.get("run"):
            return await _begin(bus, asked, facts, request_id)
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
    """Take dead letters away, to be kept for a week."""

    adds_risk = True

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """Which letters."""
        found = await _letters(bus, asked)
        return Preview(
            f"discards {len(found)} dead letters; for a week they can be restored",
            {"ids": [letter.id for letter in found], **_as_run(asked)},
        )

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,
        again: bool,
    ) -> Mapping[str, Any]:
        """Discard each."""
        if facts.get("run"):
            return await _begin(bus, asked, facts, request_id)

        async def one(letter: Letter) -> str:
            return (await discard(bus, letter, actor=asked.by, reason=asked.text("reason"))).detail

        return await _each(bus, asked, facts, one, again=again)


class Restore:
    """Bring discarded letters back among the dead letters."""

    adds_risk = False

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """Which letters; each is looked at when it is done."""
        ids = await _of_run(bus, asked) if asked.body.get("undo") else _ids(asked)
        return Preview(f"restores {len(ids)} discarded letters", {"ids": list(ids), **_as_run(asked)})

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,
        again: bool,  # noqa: ARG002 - each letter has one end of its own
    ) -> Mapping[str, Any]:
        """Restore each; one that is refused does not keep the others."""
        if facts.get("run"):
            return await _begin(bus, asked, facts, request_id)
        done: list[dict[str, str]] = []
        refused: list[dict[str, str]] = []
        for name in map(str, facts["ids"]):
            try:
                outcome = await restore(bus, name, actor=asked.by, within=asked.scope.covers)
            except (DeadLetterError, AuditError) as error:
                refused.append({"id": name, "why": str(error)})
            else:
                done.append({"id": name, "detail": outcome.detail})
        return {"done": done, "refused": refused}


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


async def _begin(bus: EventBus, asked: Asked, facts: Mapping[str, Any], request_id: str) -> Mapping[str, Any]:
    """Begin a run: the responders carry it through, and say how far it is."""
    run = Run(
        run_id=id_of("run", asked.by, request_id),
        by=asked.by,
        address=asked.address,
        what=asked.what,
        scope=str(asked.scope),
        reason=asked.text("reason"),
        facts={name: value for name, value in facts.items() if name not in ("run", "first")},
        first=int(facts["first"]),
        begun=now(),
    )
    held = await Runs(bus).begin(run)
    return {"run_id": run.run_id, "state": held.progress.state, "of": len(run.ids)}


async def _of_run(bus: EventBus, asked: Asked) -> tuple[str, ...]:
    """The letters that a run discarded, of those that it came to.

    Raises:
        Declined: there is no such run.
    """
    run_id = asked.text("undo", most=200)
    held = await Runs(bus).find(run_id)
    if held is None or held.run.what != "deadletters.discard" or not held.run.within(asked.scope):
        raise Declined(
            "not-found", f"there is no run {run_id} that discarded letters of {asked.scope.words}", "look again"
        )
    refused = {each["id"] for each in held.progress.refused}
    return tuple(name for name in held.run.ids[: held.progress.at] if name not in refused)


def _as_run(asked: Asked) -> Mapping[str, Any]:
    """Whether the action is a run, and how many letters are done before it waits for a word."""
    if not asked.body.get("run"):
        return {}
    first = asked.body.get("first", 0)
    if not isinstance(first, int) or not 0 <= first <= MOST_OF_RUN:
        raise Declined("bad-request", f"'first' is a number from 0 to {MOST_OF_RUN}", "0: go through without waiting")
    return {"run": True, "first": first}


def _steps(asked: Asked) -> str:
    first = _as_run(asked).get("first")
    return f", the first {first} and then no more until somebody says so" if first else ""


def _ids(asked: Asked) -> tuple[str, ...]:
    ids = asked.texts("ids", most=MOST_OF_RUN if asked.body.get("run") else MOST_LETTERS)
    if not ids:
        raise Declined("bad-request", "no dead letters are named", "give their ids")
    return ids


async def _letters(bus: EventBus, asked: Asked) -> list[Letter]:
    """The letters that are named, each of them there and within the scope.

    Raises:
        Declined: one is not.
    """
    ids = _ids(asked)
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
