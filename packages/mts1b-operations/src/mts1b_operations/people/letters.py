"""Having something done about many dead letters, as a person: chosen once, then in pages, each page one request."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from mts1b_platform.eventbus import AccessDenied, BusError, EventBus

from mts1b_operations.deadletters.letters import Selection, each_letter
from mts1b_operations.people.asked import Declined, Scope
from mts1b_operations.people.asking import act, preview
from mts1b_operations.people.letter_actions import MOST_LETTERS
from mts1b_operations.people.rights import decoders_of


@dataclass(frozen=True, slots=True)
class Asking:
    """What is to be done.

    Attributes:
        what: ``deadletters.requeue`` or ``deadletters.discard``.
        scope: for which fund.
        reason: why; needed unless it is only looked what would be done.
        dry_run: only look.
        further: what else the action takes.
    """

    what: str
    scope: Scope
    reason: str | None
    dry_run: bool
    further: Mapping[str, Any]

    async def by_person(
        self,
        bus: EventBus,
        wanted: Selection,
        done: list[dict[str, Any]],
        problems: list[str],
        unreadable: list[int],
    ) -> None:
        """Have it done about what ``wanted`` selects now; a page that is declined keeps no other.

        Args:
            bus: a person's connection.
            wanted: which letters.
            done: takes what was done, a row a letter.
            problems: takes what was not, and why.
            unreadable: takes the sequences of what is no letter.
        """
        async with aclosing(each_letter(bus, wanted, unreadable, decoders=await decoders_of(bus))) as found:
            letters = [letter async for letter in found if self.scope.covers(letter.letter.subject)]
        known = {name for letter in letters for name in letter.names}
        problems.extend(f"there is no dead letter {name!r}" for name in wanted.ids if name not in known)
        ids = [letter.id for letter in letters]
        for first in range(0, len(ids), MOST_LETTERS):
            try:
                await self._page(bus, ids[first : first + MOST_LETTERS], done, problems)
            except Declined as declined:
                problems.append(str(declined))
            except AccessDenied as error:
                problems.append(str(error))
                return
            except BusError as error:
                problems.append(f"stopped after {len(done)}: {error}; do it again for the rest")
                return

    async def _page(self, bus: EventBus, ids: list[str], done: list[dict[str, Any]], problems: list[str]) -> None:
        further = {name: value for name, value in self.further.items() if value is not None}
        shown = await preview(bus, self.what, self.scope, ids=ids, **further)
        if self.dry_run:
            done.extend({"id": name, "action": "would be", "detail": shown["preview"]} for name in ids)
            return
        answer = await act(
            bus, self.what, self.scope, ids=ids, digest=shown["digest"], reason=self.reason or "", **further
        )
        action = "requeued" if self.what.endswith("requeue") else "discarded"
        done.extend({"id": each["id"], "action": action, "detail": each["detail"]} for each in answer["done"])
        problems.extend(str(each["why"]) for each in answer["refused"])


async def restore_as_person(
    bus: EventBus, ids: Sequence[str], scope: Scope, done: list[dict[str, Any]], problems: list[str]
) -> None:
    """Have discarded letters brought back.

    Args:
        bus: a person's connection.
        ids: their ids.
        scope: for which fund.
        done: takes what was done, a row a letter.
        problems: takes what was not, and why.
    """
    for first in range(0, len(ids), MOST_LETTERS):
        try:
            answer = await act(bus, "deadletters.restore", scope, ids=list(ids[first : first + MOST_LETTERS]))
        except (Declined, BusError) as error:
            problems.append(str(error))
            continue
        done.extend({"id": each["id"], "action": "restored", "detail": each["detail"]} for each in answer["done"])
        problems.extend(str(each["why"]) for each in answer["refused"])
