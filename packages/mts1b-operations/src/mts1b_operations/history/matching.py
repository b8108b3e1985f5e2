"""Whether an event is what a query means, and what its bytes must hold to be it. Pure."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from operator import ge, gt, le, lt
from typing import Any, Final, cast

from mts1b_foundation.subjects.algebra import contains, is_pattern
from mts1b_platform.eventbus.history.recorded import Recorded

from mts1b_operations.history.query import And, Between, Compare, Not, Or, Query, Text
from mts1b_operations.history.seen import Seen

NAMED: Final = {"order": "order_id", "intent": "idempotency_key", "signal": "signal_id", "halt": "halt_id"}
"""Fields of a query that mean a name that ties events together, whatever the payload calls it."""

_ORDERS: Final = {">": gt, ">=": ge, "<": lt, "<=": le}
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,4})?")
_LITERAL: Final = re.compile(r"[A-Za-z0-9_]{3,}")
"""Text that no encoder of JSON or of subjects writes in another way, unless it escapes what need not be."""
_YES: Final = ("yes", "true")
_NO: Final = ("no", "false")


def matches(query: Query, seen: Seen) -> bool:
    """Whether ``seen`` is what ``query`` means."""
    match query:
        case And(parts):
            return all(matches(part, seen) for part in parts)
        case Or(parts):
            return any(matches(part, seen) for part in parts)
        case Not(inner):
            return not matches(inner, seen)
        case Text(text):
            wanted, wire = text.casefold(), seen.recorded.wire
            return any(
                wanted in part.decode(errors="replace").casefold() for part in (wire.subject, wire.head, wire.payload)
            )
        case Compare(field, operator, value):
            if field == "refused":
                return _refused(seen, operator, value)
            if field == "subject" and operator == ":":
                return _on_subject(seen, value)
            return any(_compare(found, operator, value) for found in _values(seen, field))
        case Between(field, low, high):
            return any(_compare(found, ">=", low) and _compare(found, "<=", high) for found in _values(seen, field))


def whole_pattern(text: str) -> str:
    """A pattern as people shorten it, such as ``oms.orders.>``, in full: of any version."""
    return text if text.split(".", 1)[0] in ("mts", "*", ">") or text.startswith("$") else f"mts.*.{text}"


def _on_subject(seen: Seen, value: str) -> bool:
    """Whether it was published on a subject that is meant, with or without the fund behind it."""
    pattern = whole_pattern(value)
    if not is_pattern(pattern):
        return _equal(seen.subject, value)
    tokens = seen.subject.split(".")
    bare = ".".join(tokens[:-2]) if len(tokens) > 6 and tokens[-2] == "fund" else seen.subject
    return contains(pattern, seen.subject) or contains(pattern, bare)


def _refused(seen: Seen, operator: str, value: str) -> bool:
    refused = seen.refused
    if operator != ":":
        return False
    if value.lower() in _YES:
        return refused is not None
    if value.lower() in _NO:
        return refused is None
    return refused is not None and _equal(refused.reason.value, value)


def _values(seen: Seen, field: str) -> Iterator[Any]:
    """What an event has under the name of a field."""
    if field.startswith("header."):
        found = seen.header(field.removeprefix("header."))
        yield from () if found is None else (found,)
        return
    own = {
        "subject": lambda: seen.subject,
        "stream": lambda: seen.recorded.stream,
        "seq": lambda: seen.recorded.seq,
        "time": lambda: seen.recorded.stamp,
        "by": lambda: seen.by,
        "trace": lambda: seen.trace_id,
        "id": lambda: seen.message_id,
        "schema": lambda: seen.schema,
    }.get(field)
    if own is not None:
        yield own()
        return
    if (name := NAMED.get(field)) is not None or field in seen.names:
        if (found := seen.names.get(name or field)) is not None:
            yield found
        return
    path = ["fund_id"] if field == "fund" else field.split(".")
    found = list(_walk(seen.document, path))
    if not found and (header := seen.header(f"mts-{field}")) is not None:
        found.append(header)
    yield from found


def _walk(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _walk(one, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        joined = ".".join(path)
        if joined in members:
            yield from _walk(members[joined], [])
        elif path[0] in members:
            yield from _walk(members[path[0]], path[1:])


def _compare(found: Any, operator: str, value: str) -> bool:
    if operator == ":":
        return _equal(found, value)
    compare = _ORDERS[operator]
    mine, wanted = _number(found), _number(value)
    if mine is not None and wanted is not None:
        return compare(mine, wanted)
    at, until = _moment(found), _moment(value)
    return at is not None and until is not None and compare(at, until)


def _equal(found: Any, value: str) -> bool:
    if isinstance(found, bool):
        return value.lower() in (_YES if found else _NO)
    if found is None:
        return value.lower() == "null"
    if isinstance(found, str):
        if found == value:
            return True
        if "*" in value:
            return _glob(value).fullmatch(found) is not None
    mine, wanted = _number(found), _number(value)
    return mine is not None and wanted is not None and mine == wanted


@lru_cache(maxsize=256)
def _glob(value: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in value.split("*")), re.DOTALL)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, Decimal)):
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            return Decimal(value)
        except InvalidOperation:
            return None
    return None


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def nonsense(query: Query) -> str | None:
    """Why a query can mean nothing at all, such as a subject that is none; None when it may mean something."""
    match query:
        case And(parts) | Or(parts):
            return next((why for part in parts if (why := nonsense(part)) is not None), None)
        case Not(inner):
            return nonsense(inner)
        case Compare("subject", ":", value) if is_pattern(whole_pattern(value)):
            return None
        case Compare("subject") | Between("subject"):
            return f"{query} names no subject: write tokens with dots in between, * for one, > at the end for more"
        case Compare("seq", _, value) if _number(value) is None:
            return f"seq is a number, {value!r} is none"
        case _:
            return None


# What the bytes of an event must hold.

Needles = tuple[tuple[bytes, ...], ...]
"""Of each of these at least one occurs in the subject, the headers or the payload of every event that is meant."""


def needles(query: Query) -> Needles:
    """What occurs in every event that ``query`` means; nothing when that cannot be said."""
    match query:
        case And(parts):
            return tuple(one for part in parts for one in needles(part))
        case Or(parts):
            each = [needles(part) for part in parts]
            return (tuple(piece for found in each for piece in found[0]),) if all(each) else ()
        case Compare(field, ":", value) if field not in ("refused", "stream", "seq", "time"):
            return _needle(value)
        case _:
            return ()


def _needle(value: str) -> Needles:
    if _NUMBER.fullmatch(value) or value.lower() in (*_YES, *_NO, "null"):
        return ()  # 0.5 is 0.50, and yes is true
    pieces = _LITERAL.findall(value.replace(">", "*"))
    return ((max(pieces, key=len).encode(),),) if pieces else ()


def may_match(wanted: Needles, recorded: Recorded) -> bool:
    """Whether it is worth to look closer: False only for what a query with these needles does not mean."""
    wire = recorded.wire
    return holds(wanted, wire.head + wire.subject, wire.payload)


def holds(wanted: Needles, head: bytes, payload: bytes) -> bool:
    """As :func:`may_match`, of headers in which the subject occurs as well, and a payload."""
    for pieces in wanted:
        for piece in pieces:
            if piece in head or piece in payload:
                break
        else:
            # a dead letter holds its message in another encoding, and an encoder may escape letters
            return b".deadletters." in head or b"\\u" in payload
    return True


def subjects_of(query: Query) -> tuple[str, ...]:
    """The subjects that everything which is meant was published on, as they were written; none when it names none."""
    return tuple(
        whole_pattern(part.value)
        for part in _conjuncts(query)
        if isinstance(part, Compare)
        and part.field == "subject"
        and part.operator == ":"
        and is_pattern(whole_pattern(part.value))
    )


def patterns_of(query: Query) -> tuple[str, ...]:
    """Patterns each of which matches every event that is meant, both forms of its subject; none when it names none."""
    # whoever names a verb subject means the form with the fund behind it as well
    return tuple(
        pattern if pattern.endswith(">") else f"{pattern.rpartition('.')[0]}.>" for pattern in subjects_of(query)
    )


def streams_of(query: Query) -> tuple[str, ...]:
    """The streams that a query names; empty when it names none."""
    return tuple(
        part.value
        for part in _conjuncts(query)
        if isinstance(part, Compare) and part.field == "stream" and part.operator == ":" and "*" not in part.value
    )


def split(query: Query) -> tuple[Query, Query]:
    """A query as two that must both match: what it says of the subject alone, and the rest."""
    about = [part for part in _conjuncts(query) if isinstance(part, Compare) and part.field == "subject"]
    rest = [part for part in _conjuncts(query) if part not in about]
    return And(tuple(about)), rest[0] if len(rest) == 1 else And(tuple(rest))


def _conjuncts(query: Query) -> Iterable[Query]:
    return query.parts if isinstance(query, And) else (query,)
