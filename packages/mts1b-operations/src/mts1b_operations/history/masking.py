"""What takes the place of values that somebody may not see. Pure.

A value is replaced before a query is compared with it, so that nobody finds by searching what is not shown.
"""

import json
from typing import Any, Final, cast

from mts1b_foundation.deadletters import DeadLetter

MASK: Final = "***"
"""What stands in place of a value. No query for a text of letters or digits asks for it."""
WHOLE: Final = f'"{MASK}"'.encode()
"""What stands in place of a payload of which no field can be told from another."""
WHY: Final = "masked, as it may quote a field marked sensitive: a role with the look `sensitive` is shown it"
"""What stands in place of a refusal, an error or a traceback."""
_FIELDS: Final = 5


def masked_payload(payload: bytes, fields: frozenset[str]) -> bytes:
    """``payload`` with every member named like one of ``fields`` masked, however deep; all of what is no JSON."""
    try:
        document = _masked(json.loads(payload), fields)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
    except (ValueError, RecursionError):
        return WHOLE


def _masked(value: Any, fields: frozenset[str]) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: MASK if name in fields else _masked(held, fields) for name, held in members.items()}
    return [_masked(each, fields) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def masked_letter(letter: DeadLetter, payload: bytes) -> DeadLetter:
    """``letter`` with the masked ``payload`` of its message, and without the error's own words."""
    return letter.model_copy(
        update={"payload": payload, "error": WHY, "traceback": None if letter.traceback is None else WHY}
    )


def in_words(document: Any) -> str:
    """A masked payload in one line: its first short fields."""
    if not isinstance(document, dict):
        return MASK
    members = cast("dict[str, Any]", document).items()
    shown = [
        f"{name}={value}" for name, value in members if value not in (None, "") and not isinstance(value, (dict, list))
    ]
    return " ".join(shown[:_FIELDS])
