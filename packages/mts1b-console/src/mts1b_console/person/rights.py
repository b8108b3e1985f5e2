"""What the server lets a connection do, as the server itself says it, in the words of the pages."""

from collections.abc import Iterable
from typing import Final

from mts1b_operations.people.rights import Said

from mts1b_console.shapes.person import Rights

_LOOK: Final = "look.v1."
_ACT: Final = "act.v1."
_HISTORY: Final = "history."
EVERYTHING: Final = Rights(subjects=["mts.>"], streams=["*"], looks=[">"], acts=[">"])
"""Where there are no people."""


def rights_of(said: Said) -> Rights:
    """The rights in what a server says."""
    return Rights(
        subjects=[each for each in said.subscribe if each.startswith("mts.")],
        streams=_below(_HISTORY, said.publish),
        looks=_below(_LOOK, said.publish),
        acts=_below(_ACT, said.publish),
    )


def _below(prefix: str, patterns: Iterable[str]) -> list[str]:
    return [each.removeprefix(prefix) for each in patterns if each.startswith(prefix)]
