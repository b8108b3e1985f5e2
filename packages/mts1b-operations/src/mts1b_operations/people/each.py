"""One dead letter of a run: done, found done before, or refused."""

from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass

from mts1b_platform.eventbus import EventBus

from mts1b_operations.deadletters.discard import discard, restore
from mts1b_operations.deadletters.ends import Ends
from mts1b_operations.deadletters.letters import Letter, Selection, each_letter
from mts1b_operations.deadletters.requeue import requeue
from mts1b_operations.people.asked import Scope, scope_of
from mts1b_operations.people.runs import Run


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a letter.

    Attributes:
        refused: why nothing was done about it; empty when it was.
        stored: where its message is stored now, ``STREAM:sequence``; empty when it is not known, or was not requeued.
    """

    refused: str = ""
    stored: str = ""


async def read_letters(bus: EventBus, run: Run, names: Collection[str]) -> dict[str, Letter]:
    """Those of the letters that are there now."""
    if run.what == "deadletters.restore":
        return {}
    scope = scope_of(run.scope)
    async with aclosing(each_letter(bus, Selection(ids=tuple(names)), [])) as found:
        return {letter.id: letter async for letter in found if scope.covers(letter.letter.subject)}


async def step(bus: EventBus, run: Run, name: str, letter: Letter | None) -> Done:
    """Do about one letter what the run is for.

    Raises:
        DeadLetterError: it is refused.
        AuditError: the action cannot be recorded; it was not taken.
        BusError: the server does not answer; do it again.
    """
    if run.what == "deadletters.restore":
        scope: Scope = scope_of(run.scope)
        await restore(bus, name, actor=run.by, within=scope.covers)
        return Done()
    if letter is None:
        return await _gone(bus, run, name)
    if run.what == "deadletters.discard":
        await discard(bus, letter, actor=run.by, reason=run.reason)
        return Done()
    to = "subject" if run.facts.get("to") == "subject" else "consumer"
    done = await requeue(bus, letter, to=to, actor=run.by, force=bool(run.facts.get("force")))
    return Done(stored=done.stored)


async def _gone(bus: EventBus, run: Run, name: str) -> Done:
    """What became of a letter that is not there any more: done by a responder that was killed, or by somebody else."""
    held = await Ends(bus).find(name)
    verb = run.what.rpartition(".")[2]
    if held is None or held.record.what.split()[0] != verb:
        return Done(refused="it was gone: " + ("nobody knows why" if held is None else str(held.record)))
    record = held.record
    return Done(stored=f"{name.split(':')[0]}:{record.seq}" if verb == "requeue" and record.seq else "")
