"""Reading events of an older version: pure functions from one version of a payload to the next, chained.

An upcaster is declared beside the new model and contributed with it::

    @upcaster
    def order_v1_to_v2(old: OrderV1) -> Order:
        return Order(**dict(old), venue="unknown")

Readers of ``Order:v2`` then read ``Order:v1`` too: the payload is validated by the model of its own version first,
so that an upcaster never sees a document that its producer could not have meant.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, get_type_hints

from mts1b_foundation.errors import InvalidSubject, SchemaMismatch
from mts1b_foundation.event import Event

Old = TypeVar("Old", bound=Event)
New = TypeVar("New", bound=Event)
T = TypeVar("T", bound=Event)


@dataclass(frozen=True, slots=True)
class Upcaster(Generic[Old, New]):
    """One step up: how an event of ``old`` is said in ``new``."""

    old: type[Old]
    new: type[New]
    convert: Callable[[Old], New]

    def __str__(self) -> str:
        return f"{self.old.schema_id()} -> {self.new.schema_id()}"


def upcaster(function: Callable[[Old], New]) -> Upcaster[Old, New]:
    """Make a function an upcaster; its annotations say from what to what.

    Raises:
        InvalidSubject: when the annotations do not name two payload models.
    """
    hints = get_type_hints(function)
    names = [name for name in inspect.signature(function).parameters if name in hints]
    old, new = hints.get(names[0]) if len(names) == 1 else None, hints.get("return")
    if not (isinstance(old, type) and issubclass(old, Event) and isinstance(new, type) and issubclass(new, Event)):
        raise InvalidSubject(
            f"upcaster {function.__name__}: annotate it as (old: OldModel) -> NewModel, both payload models"
        )
    return Upcaster(cast("type[Old]", old), cast("type[New]", new), function)


class Upcasters:
    """The upcasters of a process, by the schema that they read.

    Raises:
        InvalidSubject: when two of them read the same schema, or they run in a circle.
    """

    def __init__(self, upcasters: Iterable[Upcaster[Any, Any]] = ()) -> None:
        self._by_old: dict[str, Upcaster[Any, Any]] = {}
        for step in upcasters:
            first = self._by_old.setdefault(step.old.schema_id(), step)
            if first is not step:
                raise InvalidSubject(f"two upcasters read {step.old.schema_id()}: {first} and {step}; keep one of them")
        for start in self._by_old:
            self._chain(start)

    def __iter__(self) -> Iterator[Upcaster[Any, Any]]:
        return iter(self._by_old.values())

    def reads(self, schema_id: str, wanted: type[Event]) -> bool:
        """Whether an event of ``schema_id`` can be had as ``wanted``."""
        target = wanted.schema_id()
        return schema_id == target or any(step.new.schema_id() == target for step in self._chain(schema_id))

    def decode(self, schema_id: str, data: bytes | str, wanted: type[T]) -> T:
        """The event in ``data``, which says that it is of ``schema_id``, as ``wanted``.

        Raises:
            SchemaMismatch: no chain of upcasters leads from ``schema_id`` to ``wanted``.
            pydantic.ValidationError: the data is no valid document of its schema, or an upcaster made an invalid one.
        """
        target = wanted.schema_id()
        if schema_id == target:
            return wanted.model_validate_json(data)
        chain = self._chain(schema_id)
        if not any(step.new.schema_id() == target for step in chain):
            raise SchemaMismatch(
                f"an event of schema {schema_id!r} cannot be read as {target!r}: no upcaster leads there; "
                "read the subject with the model it is registered with, or contribute an upcaster"
            )
        event: Event = chain[0].old.model_validate_json(data)
        for step in chain:
            event = step.convert(event)
            if step.new.schema_id() == target:
                break
        if type(event) is not wanted:
            raise SchemaMismatch(f"the upcaster to {target!r} returned a {type(event).__name__}: fix the upcaster")
        return event

    def _chain(self, schema_id: str) -> list[Upcaster[Any, Any]]:
        chain: list[Upcaster[Any, Any]] = []
        seen = {schema_id}
        while (step := self._by_old.get(schema_id)) is not None:
            chain.append(step)
            schema_id = step.new.schema_id()
            if schema_id in seen:
                raise InvalidSubject(
                    f"upcasters run in a circle: {', '.join(map(str, chain))}; an upcaster goes up only"
                )
            seen.add(schema_id)
        return chain
