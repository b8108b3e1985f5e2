"""What was begun with many dead letters, and how far the responders are with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mts1b_operations.people.asked import scope_of
from mts1b_operations.people.asking import ALL
from mts1b_platform.eventbus import BusError

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered, at
from mts1b_console.read.deadletters import Light, forget, lights
from mts1b_console.shapes.runs import CameBack, Run, RunRefused, Runs


async def runs(person: Person) -> Runs:
    """The runs of the last day."""

    async def work() -> dict[str, Any]:
        found = await person.backing.look("deadletters.runs", ALL)
        far = [(row["run_id"], row["at"], row["state"]) for row in found["runs"]]
        if person.kept.get("runs") != far:
            person.kept["runs"] = far
            forget(person)  # something was done about the letters
        requeued = any(row["stored"] for row in found["runs"])
        letters: Sequence[Light] | None = []
        if requeued:
            try:
                letters = await lights(person)
            except BusError:
                letters = None
        return {"read_at": found["read_at"], "runs": [_run(row, letters) for row in found["runs"]]}

    return await answered(person, Runs, work)


def _run(row: Mapping[str, Any], letters: Sequence[Light] | None) -> Run:
    return Run(
        run_id=row["run_id"],
        verb=row["what"].rpartition(".")[2],
        consumers=list(row["consumers"]),
        to=row["to"],
        fund=scope_of(row["scope"]).fund,
        by=row["by"],
        reason=row["reason"],
        begun=at(row["begun"]) or "",
        changed=at(row["changed"]) or "",
        state=row["state"],
        of=row["of"],
        at=row["at"],
        done=row["done"],
        failed=row["failed"],
        refused=[RunRefused(id=each["id"], why=each["why"]) for each in row["refused"][:5]],
        trouble=row["trouble"] or None,
        ordered_by=row["ordered_by"] or None,
        back=None if letters is None else _back(set(row["stored"]), letters),
    )


def _back(stored: set[str], letters: Sequence[Light]) -> CameBack:
    """What of the messages that were stored again became dead letters again."""
    again = [each.letter for each in letters if f"{each.letter.stream}:{each.letter.sequence}" in stored]
    newest = max(again, key=lambda letter: letter.failed_at, default=None)
    return CameBack(count=len(again), error=newest.error if newest else "")
