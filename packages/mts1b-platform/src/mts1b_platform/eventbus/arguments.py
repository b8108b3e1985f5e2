"""What calls are given, checked before anything is sent: an error in words where Python's own would not help."""

import math
from datetime import datetime
from typing import Any

from mts1b_foundation.subjects import DurableSubject, Subject

from mts1b_platform.eventbus.errors import ConsumeError, InvalidArgument, NotStored


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


def check_seconds(name: str, value: Any) -> None:
    """A number of seconds that an operation can last.

    Raises:
        InvalidArgument: it is no finite number greater than 0.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise InvalidArgument(f"{name} is {value!r}: give seconds as a finite number greater than 0")


def check_count(name: str, value: Any) -> None:
    """A whole number of at least 1.

    Raises:
        InvalidArgument: it is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgument(f"{name} is {value!r}: give a whole number of at least 1")
