"""What would change on the server, field by field, and how dangerous each change is: a pure comparison.

*safe*: no stored message and no reader is affected. *care*: it works, but somebody may notice: a subject that is no
longer stored, a shorter dedupe window, fewer replicas. *destructive*: the server may delete stored messages, or the
field cannot be changed in place at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Action = Literal["created", "updated", "unchanged"]
Risk = Literal["safe", "care", "destructive"]

_IN_PLACE_NEVER: Final = frozenset({"retention", "storage"})
_LIMITS: Final = frozenset({"max_age", "max_msgs_per_subject"})
_SWITCHES: Final = frozenset({"allow_direct", "allow_atomic", "allow_batched"})
_ABSENT: Final[Mapping[str, Any]] = {"description": "", **dict.fromkeys(_SWITCHES, False)}
"""What the server means when it leaves a field out of its answer."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs: the server's value, the wanted one, how dangerous it is and why."""

    name: str
    held: Any
    wanted: Any
    risk: Risk
    why: str

    @property
    def in_place(self) -> bool:
        """Whether the server can change it without deleting the stream."""
        return self.name not in _IN_PLACE_NEVER


@dataclass(frozen=True, slots=True)
class StreamChange:
    """What differs between one definition and the server."""

    stream: str
    action: Action
    fields: tuple[FieldChange, ...] = ()

    @property
    def risk(self) -> Risk:
        """The worst of the fields' risks."""
        risks = {change.risk for change in self.fields}
        return "destructive" if "destructive" in risks else "care" if "care" in risks else "safe"


def compare(wanted: Mapping[str, Any], held: Mapping[str, Any] | None, *, stored: int = 0) -> StreamChange:
    """The change from the server's configuration ``held`` (None: no such stream) to ``wanted``.

    Fields that ``wanted`` does not mention are left as they are. ``stored`` is how many bytes the stream holds, which
    decides what a limit of its size does to it.
    """
    name: str = wanted["name"]
    if held is None:
        return StreamChange(name, "created")
    fields = tuple(
        _change(key, current, value, stored)
        for key, value in wanted.items()
        if _differs(key, current := held.get(key, _ABSENT.get(key)), value)
    )
    return StreamChange(name, "updated" if fields else "unchanged", fields)


def _differs(key: str, held: Any, wanted: Any) -> bool:
    return set(held or ()) != set(wanted) if key == "subjects" else held != wanted


def _change(key: str, held: Any, wanted: Any, stored: int) -> FieldChange:
    risk, why = _judge_size(wanted, stored) if key == "max_bytes" else _judge(key, held, wanted)
    return FieldChange(key, held, wanted, risk, why)


def _judge_size(wanted: int, stored: int) -> tuple[Risk, str]:
    if 0 < wanted < stored:
        return "destructive", f"the stream holds {stored} bytes: the oldest messages are deleted, read or not"
    return "safe", "no message that is stored now goes beyond it"


def _judge(key: str, held: Any, wanted: Any) -> tuple[Risk, str]:
    if key in _IN_PLACE_NEVER:
        return "destructive", "cannot be changed in place: back the stream up, delete it, apply again"
    if key in _LIMITS:
        if wanted > 0 and (held is None or held <= 0 or wanted < held):
            return "destructive", "messages beyond the new limit are deleted, read or not"
        return "safe", "keeps more than before"
    if key == "subjects":
        gone = sorted(set(held or ()) - set(wanted))
        return ("care", f"no longer stored: {', '.join(gone)}") if gone else ("safe", "stores more subjects")
    if key == "duplicate_window":
        return ("safe", "recognises repeats for longer") if wanted > (held or 0) else ("care", "repeats pass sooner")
    if key == "num_replicas":
        return ("safe", "more copies") if wanted > (held or 0) else ("care", "fewer copies survive a lost node")
    if key in _SWITCHES | {"description"}:
        return "safe", "changes no message"
    return "care", "changes how the stream behaves"
