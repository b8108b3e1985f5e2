"""What queries are completed with: subjects, fields of payloads, and the values of those that have few."""

from functools import cache
from typing import Any, Final, cast

from mts1b_foundation.schemas import schema_document
from mts1b_foundation.subjects import registry
from mts1b_operations.history.matching import NAMED

from mts1b_console.read.answer import now
from mts1b_console.shapes.registry import Words

_EVERYWHERE: Final = ("subject", "fund", *NAMED, "trace", "refused", "by", "stream", "seq", "time", "id", "schema")
_REFUSED: Final = ("yes", "no", "schema_mismatch", "invalid_payload")
MOST_VALUES: Final = 30


def words() -> Words:
    """All of them; the same while the process runs."""
    fields, values = _known()
    subjects = [
        ".".join("*" if each.startswith("{") else each for each in one.pattern.split(".")) for one in registry()
    ]
    return Words(read_at=now(), fields=fields, values=values, subjects=sorted({*subjects, "mts.v1.oms.>"}))


@cache
def _known() -> tuple[list[str], dict[str, list[str]]]:
    values: dict[str, set[str]] = {"refused": set(_REFUSED)}
    names: set[str] = set()
    for payload in {subject.payload for subject in registry()}:
        document: dict[str, Any] = schema_document(payload)
        definitions: dict[str, Any] = document.get("$defs", {})
        for name, said in cast("dict[str, dict[str, Any]]", document.get("properties", {})).items():
            names.add(name)
            values.setdefault(name, set()).update(_few(said, definitions))
    few = {name: sorted(some) for name, some in values.items() if 0 < len(some) <= MOST_VALUES}
    return [*_EVERYWHERE, *sorted(names - {*_EVERYWHERE})], few


def _few(said: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    """The texts that a field may be, when its schema lists them."""
    found: set[str] = {each for each in said.get("enum", ()) if isinstance(each, str)}
    if isinstance(said.get("const"), str):
        found.add(said["const"])
    if (reference := said.get("$ref")) is not None:
        found |= _few(definitions.get(str(reference).rpartition("/")[2], {}), definitions)
    for part in said.get("anyOf", ()):
        found |= _few(part, definitions)
    return found
