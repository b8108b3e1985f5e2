"""Where a core keeps its state: tables of rows that remember what changed since they were last saved.

A core changes its state only by setting and deleting rows, and rows are immutable values. So whoever runs the core can
take the changes after each event and store them in the same transaction as the event's effects, and a core that is
loaded from stored rows goes on as if nothing had happened.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Change:
    """One row to store (``data`` is its JSON) or, with ``data`` None, to delete."""

    table: str
    key: str
    data: bytes | None


class Table(MutableMapping[str, V], Generic[V]):
    """Named rows of one type by key, iterated in the order of their first insertion.

    Args:
        name: what the table is called where it is stored.
        row: the type of a row, anything that pydantic can write and read back.
    """

    __slots__ = ("_adapter", "_changed", "_noted", "_rows", "name")

    def __init__(self, name: str, row: Any) -> None:
        self.name = name
        self._adapter: TypeAdapter[V] = TypeAdapter(row)
        self._rows: dict[str, V] = {}
        self._changed: dict[str, None] = {}
        self._noted = True

    def __getitem__(self, key: str) -> V:
        return self._rows[key]

    def __setitem__(self, key: str, row: V) -> None:
        self._rows[key] = row
        if self._noted:
            self._changed[key] = None

    def __delitem__(self, key: str) -> None:
        del self._rows[key]
        if self._noted:
            self._changed[key] = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def changes(self) -> list[Change]:
        """What changed since the last call, in the order of the first change of each row."""
        changed, self._changed = self._changed, {}
        rows = self._rows
        return [Change(self.name, key, self._dump(rows[key]) if key in rows else None) for key in changed]

    def note_no_changes(self) -> None:
        """Nobody wants to know what changes."""
        self._noted = False
        self._changed.clear()

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Start from stored rows; they do not count as changes.

        Raises:
            pydantic.ValidationError: when a row is no JSON of this table's type.
        """
        self._rows = {key: self._adapter.validate_json(data) for key, data in rows}
        self._changed = {}

    def _dump(self, row: V) -> bytes:
        return self._adapter.dump_json(row)


class Recent:
    """The last ``size`` keys that were added: enough to recognise a repetition that follows soon."""

    __slots__ = ("_keys", "_size")

    def __init__(self, size: int = 2_000) -> None:
        self._keys: dict[str, None] = {}
        self._size = size

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: str) -> None:
        """Remember ``key``, and forget the oldest when there are too many."""
        self._keys[key] = None
        if len(self._keys) > self._size:
            del self._keys[next(iter(self._keys))]
