"""What calls are given, checked before anything is sent: an error in words where Python's own would not help."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from mts1b_foundation.subjects import DurableSubject, Subject

from mts1b_platform.eventbus.errors import ConsumeError, InvalidArgument, NotStored
from mts1b_platform.eventbus.limits import check_count, check_seconds

_GROUP: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST: Final = 128
_DURABLE: Final = re.compile(rf"(?:(?![.*>/\\])[!-~]){{1,{_LONGEST}}}")


def check_consume(
    subjects: Sequence[DurableSubject[Any]],
    durable: str,
    *,
    policy: object = None,  # noqa: ARG001 - named here so that they are no parameters of a subject
    deliver: object = "all",
    prefetch: object = 1,
    ack_wait: object = None,
    inactive_threshold: object = None,
    ordered_by: object = None,
    instances: object = "one",  # noqa: ARG001 - as above; see check_reader
    takeover: object = None,  # noqa: ARG001
    keys: object = None,  # noqa: ARG001
    member: object = None,  # noqa: ARG001
    where: Mapping[str, str | None] | None = None,
    **parameters: str | None,
) -> tuple[str, ...]:
    """What ``bus.consume`` is given; the patterns that it asks for.

    Raises:
        InvalidArgument: a value that cannot work.
        ConsumeError: a durable that has no possible name, or a moment without a zone.
        NotStored: a subject is best effort.
        UnknownParameter: an option that does not exist, or a parameter that a subject does not have.
    """
    for subject in subjects:
        check_durable_subject(subject)
    if not _is_name(durable):
        raise ConsumeError(
            f"durable {durable!r} is no consumer name: use ASCII letters, digits, - and _, {_LONGEST} of them at "
            "most, so that a dead letter can name it"
        )
    check_deliver(deliver)
    check_count("prefetch", prefetch)
    for name, value in (("ack_wait", ack_wait), ("inactive_threshold", inactive_threshold)):
        if value is not None:
            check_seconds(name, value)
    if ordered_by is not None:
        check_order(subjects, ordered_by)
    return tuple(pattern for subject in subjects for pattern in subject.filters(**all_parameters(where, parameters)))


def check_read_raw(stream: object, durable: object, *, window: object, ack_wait: object) -> None:
    """What ``bus.read_raw`` is given.

    Raises:
        InvalidArgument: a value that cannot work.
    """
    for what, name in (("stream", stream), ("durable", durable)):
        if not _is_name(name):
            raise InvalidArgument(
                f"{what} {name!r} is no name: it has 1 to {_LONGEST} characters, without blanks and .*>/\\"
            )
    check_count("window", window)
    check_seconds("ack_wait", ack_wait)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _DURABLE.fullmatch(name) is not None


def all_parameters(where: Mapping[str, str | None] | None, parameters: Mapping[str, Any]) -> dict[str, str | None]:
    """What one key or fund is asked for by: in ``where``, or by itself.

    Raises:
        InvalidArgument: something is given in both ways, or ``where`` is no mapping.
    """
    if where is None:
        return dict(parameters)
    if not isinstance(where, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"where is {where!r}: give names with values, such as {{'venue': 'X'}}")
    if twice := sorted(where.keys() & parameters.keys()):
        raise InvalidArgument(f"{', '.join(twice)} is given twice: in where and by itself")
    return {**where, **parameters}


def check_order(subjects: Sequence[DurableSubject[Any]], ordered_by: object) -> None:
    """What orders events: a field that their payloads have, or a function of the payload.

    Raises:
        InvalidArgument: it is something else.
    """
    if callable(ordered_by):
        return
    for subject in subjects:
        if ordered_by not in subject.payload.model_fields:
            raise InvalidArgument(
                f"ordered_by is {ordered_by!r}, no field of {subject.payload.__name__}, which {subject.pattern} "
                f"carries: it has {', '.join(subject.payload.model_fields)}"
            )


def check_listen(
    subject: Subject[Any],
    *,
    conflate: object = False,
    limit: object = 1,
    group: str | None = None,
    where: Mapping[str, str | None] | None = None,
    **parameters: str | None,
) -> None:
    """What ``bus.listen`` is given.

    Raises:
        InvalidArgument: a value that cannot work.
        UnknownParameter: an option that does not exist, or a parameter that the subject does not have.
    """
    check_subject(subject)
    check_count("limit", limit)
    if not isinstance(conflate, bool):
        raise InvalidArgument(f"conflate is {conflate!r}: give True or False")
    if group is not None:
        check_group(group)
    subject.filters(**all_parameters(where, parameters))


def check_subject(subject: object) -> None:
    """A registered subject, not its name.

    Raises:
        InvalidArgument: it is something else.
    """
    if not isinstance(subject, Subject):
        raise InvalidArgument(
            f"{subject!r} is no registered subject: import one, such as OMS_ORDERS_CREATED from "
            "mts1b_foundation.subjects; for a plain name there is bus.publish(name, data)"
        )


def check_durable_subject(subject: object) -> None:
    """A registered subject that a stream stores.

    Raises:
        InvalidArgument: it is no registered subject.
        NotStored: it is best effort.
    """
    check_subject(subject)
    if not isinstance(subject, DurableSubject):
        raise NotStored(f"{subject} is best effort and stored nowhere: use bus.listen() without a durable")


def check_deliver(deliver: object) -> None:
    """Where a new durable begins.

    Raises:
        ConsumeError: it is a moment without a zone.
        InvalidArgument: it is neither a word that is known nor a moment.
    """
    if isinstance(deliver, datetime):
        if deliver.utcoffset() is None:
            raise ConsumeError(
                f"deliver is {deliver.isoformat()} without a zone: say which, such as datetime(…, tzinfo=UTC)"
            )
    elif deliver not in ("all", "new"):
        raise InvalidArgument(f"deliver is {deliver!r}: choose 'all', 'new' or a datetime with a zone")


def check_group(group: object, what: str = "group") -> None:
    """The name of a group, or of a member of one.

    Raises:
        InvalidArgument: it is none.
    """
    if not isinstance(group, str) or not _GROUP.fullmatch(group):
        raise InvalidArgument(f"{what} is {group!r}: give a name of 1 to 64 letters, digits, - and _")
