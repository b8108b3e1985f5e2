"""The durable consumers of every service, declared: what each one may read, and under which name.

On a secured bus services have no right to create consumers, because whoever may do that can have any stored message
delivered to any subject. The platform's administration creates them from these declarations (``mts1b streams
apply``), and the permissions of a service name its own durables one by one. On ``minimal`` services make their own.

Other packages declare theirs through the entry point group ``mts1b.consumers``. A service that makes up durables per
run cannot have that on a secured bus: NATS permissions match whole tokens, so a right to ``desk-*`` does not exist.
It declares a fixed set of durables instead, one per reader, and a new run resumes or resets them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from mts1b_foundation.subjects import DurableSubject, encode_token
from mts1b_foundation.subjects.contributions import ConsumerDeclaration

from mts1b_platform.eventbus.errors import ConsumeError, InvalidArgument
from mts1b_platform.eventbus.limits import check_seconds
from mts1b_platform.eventbus.streams import STREAMS

MAX_ACK_PENDING: Final = 10_000
"""Most events of a durable that may be delivered and not settled at a time, over all its readers."""

DEFAULT_TAKEOVER: Final = 5.0
"""Seconds from the last sign of life of one of several instances until another takes over."""

_TAKEOVER: Final = (1.0, 60.0)

MOST_KEYS: Final = 64
"""Keys that the instances of a reader may share: each is a durable, which costs every node of a cluster something."""

Instances = Literal["one", "standby", "share"]
"""How many instances of a reader may keep its order: one; any number, of which one at a time is handed events; or any
number, of which each is handed the events of some keys."""

Deliver = Literal["all", "new"] | datetime
"""Where a consumer that does not exist yet begins: at the first stored message, at the next one, or at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerDefinition(ConsumerDeclaration):
    """One durable as it shall be on the server.

    Attributes:
        deliver: where it begins when it is created: at the first stored message or at the next.
        ack_wait: seconds after which an event of a crashed reader is given to another.
        instances: whether several instances may read it, one at a time.
        takeover: of several instances: seconds from the last sign of life of one until another takes over.
        group: of a durable that holds one key of a reader whose instances share the keys: what all these begin with.
        key: then, the key.
    """

    deliver: Deliver = "all"
    ack_wait: float = 30.0
    instances: Instances = "one"
    takeover: float = DEFAULT_TAKEOVER
    group: str = ""
    key: str = ""

    @property
    def pinned(self) -> bool:
        """Whether one of several instances at a time is handed events."""
        return self.instances != "one"


def reads(
    service: str,
    durable: str,
    *subjects: DurableSubject[Any],
    stream: str | None = None,
    deliver: Deliver = "all",
    ack_wait: float = 30.0,
    instances: Instances = "one",
    takeover: float = DEFAULT_TAKEOVER,
) -> ConsumerDefinition:
    """Declare that ``service`` reads ``subjects``, and what they replace, under the name ``durable``.

    Args:
        service: the repo that reads.
        durable: the name on the server, unique within the stream.
        subjects: what is read; all of one stream.
        stream: where they are stored; found among the platform's own streams when left out.
        deliver: where it begins.
        ack_wait: seconds until an unanswered event is given to another reader.
        instances: ``"standby"`` for a reader that is started several times, of which one at a time is handed events.
        takeover: then, seconds from the last sign of life of one instance until another takes over.

    Raises:
        InvalidArgument: ``instances``, ``takeover`` or ``ack_wait`` cannot be.
        ConsumeError: no stream, or more than one, stores them.
    """
    check_instances(instances)
    check_takeover(takeover)
    check_seconds("ack_wait", ack_wait)
    if instances == "share":
        raise InvalidArgument(f"durable {durable!r}: a reader that shares keys is declared with `shares(…, keys=[…])`")
    filters = tuple(form for subject in subjects for form in subject.filters())
    return ConsumerDefinition(
        service=service,
        durable=durable,
        stream=stream or _stream_of(durable, filters),
        filters=filters,
        deliver=deliver,
        ack_wait=ack_wait,
        instances=instances,
        takeover=takeover,
    )


def shares(
    service: str,
    group: str,
    *subjects: DurableSubject[Any],
    by: str,
    keys: Iterable[str],
    stream: str | None = None,
    deliver: Deliver = "all",
    ack_wait: float = 30.0,
    takeover: float = DEFAULT_TAKEOVER,
) -> tuple[ConsumerDefinition, ...]:
    """Declare that instances of ``service`` share the keys of ``subjects`` out: one durable for each key.

    ``CONSUMERS = (*shares("mts1b-books", "books", OMS_FILLS_CREATED, by="fund_id", keys=("alpha", "beta")),)``

    Args:
        service: the repo that reads.
        group: what the names of the durables begin with.
        subjects: what is read; all of one stream.
        by: the parameter of the subjects that is the key, such as ``fund_id``.
        keys: its values, 64 at most. Events with another value, and those in a form without it, are read by nobody.
        stream: where they are stored; found among the platform's own streams when left out.
        deliver: where each durable begins.
        ack_wait: seconds until an unanswered event is delivered again.
        takeover: seconds from the last sign of life of one instance until another takes over.

    Raises:
        InvalidArgument: ``keys`` cannot be shared, ``by`` is no parameter of the subjects, or ``takeover`` or
            ``ack_wait`` cannot be.
        ConsumeError: no stream, or more than one, stores them.
    """
    check_takeover(takeover)
    check_seconds("ack_wait", ack_wait)
    parameter = key_parameter(subjects, by)
    found: list[ConsumerDefinition] = []
    for key in check_keys(group, keys):
        filters = tuple(form for subject in subjects for form in subject.filters(**{parameter: key}))
        found.append(
            ConsumerDefinition(
                service=service,
                durable=durable_of(group, key),
                stream=stream or _stream_of(group, filters),
                filters=filters,
                deliver=deliver,
                ack_wait=ack_wait,
                instances="share",
                takeover=takeover,
                group=group,
                key=key,
            )
        )
    return tuple(found)


def durable_of(group: str, key: str) -> str:
    """The durable that holds ``key`` of the reader ``group``."""
    return f"{group}-{encode_token(key)}"


def group_subject(stream: str, group: str) -> str:
    """Where the instances of the reader ``group`` on ``stream`` tell each other that they are there."""
    return f"_mts.group.{stream}.{group}"


def key_parameter(subjects: Sequence[DurableSubject[Any]], by: object) -> str:
    """The parameter of ``subjects`` whose values are shared out.

    Raises:
        InvalidArgument: ``by`` is none of all of them.
    """
    for subject in subjects:
        known = (*subject.parameters, *(("fund_id",) if subject.fund_scoped else ()))
        if by not in known:
            raise InvalidArgument(
                f"the instances of a reader share the values of a parameter of its subjects: {subject.pattern} has "
                f"{', '.join(known) or 'none'}, not {by!r}. Keys that are in the payload only stay with one instance: "
                'give instances="standby"'
            )
    return str(by)


def check_keys(group: str, keys: Iterable[str]) -> tuple[str, ...]:
    """The keys that the instances of a reader share, each once.

    Raises:
        InvalidArgument: there are none, too many, or what is no key.
    """
    listed = isinstance(keys, Iterable) and not isinstance(keys, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    found = tuple(keys) if listed else ()
    if not listed or any(not isinstance(key, str) or not key for key in found):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(f"the keys of {group!r} are {keys!r}: give a list of values that are not empty")
    each = tuple(dict.fromkeys(found))
    if not 1 <= len(each) <= MOST_KEYS:
        raise InvalidArgument(
            f"the keys of {group!r} are {len(each)}: give 1 to {MOST_KEYS}, as each is a durable of its own. For more "
            'use several readers with some keys each, or instances="standby"'
        )
    return each


def check_instances(instances: object) -> None:
    """How many instances there may be.

    Raises:
        InvalidArgument: it is no word that is known.
    """
    if instances not in get_args(Instances):
        raise InvalidArgument(f"instances is {instances!r}: choose one of {', '.join(map(repr, get_args(Instances)))}")


def check_takeover(takeover: Any) -> None:
    """Seconds until another instance takes over.

    Raises:
        InvalidArgument: it is no number of seconds from 1 to 60.
    """
    number = isinstance(takeover, int | float) and not isinstance(takeover, bool)
    least, most = _TAKEOVER
    if not number or not least <= takeover <= most:
        raise InvalidArgument(
            f"takeover is {takeover!r}: give seconds from {least:g} to {most:g}; with less, a busy machine seems dead"
        )


def check_reader(
    *,
    ordered_by: object = None,
    instances: object = "one",
    takeover: object = None,
    keys: object = None,
    member: object = None,
    **_: object,
) -> None:
    """How many instances keep which order together.

    Raises:
        InvalidArgument: no reader can be of this kind.
    """
    check_instances(instances)
    if takeover is not None:
        check_takeover(takeover)
    if instances != "share" and keys is not None:
        raise InvalidArgument('keys are of instances that share the work: give instances="share" as well')
    if instances == "one" and member is not None:
        raise InvalidArgument('member is of several instances: give instances="standby" or "share" as well')
    if instances == "one":
        if takeover is not None:
            raise InvalidArgument('takeover is of several instances: give instances="standby" or "share" as well')
    elif ordered_by is None:
        raise InvalidArgument(
            f"instances={instances!r} is for readers that keep an order: give ordered_by=… too. Without an order "
            "any number of instances share a durable by its name, and `instances` is not needed"
        )


def _stream_of(durable: str, filters: tuple[str, ...]) -> str:
    from mts1b_foundation.subjects.algebra import covers

    found = [each.name for each in STREAMS if all(covers(each.subjects, wanted) for wanted in filters)]
    if len(found) != 1:
        raise ConsumeError(
            f"durable {durable!r}: {', '.join(filters)} lie in no single stream of the platform: name one"
        )
    return found[0]
