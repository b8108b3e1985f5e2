"""Durable consumers on the server: found or created, and compared with what the caller wants."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.algebra import contains

from mts1b_platform.eventbus.consumers import DEFAULT_TAKEOVER, Deliver
from mts1b_platform.eventbus.errors import AccessDenied, ConsumeError, ConsumerConflict, NoStream
from mts1b_platform.eventbus.jetstream.api import ApiError, Requester, js_api
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.pins import is_pinned, not_pinned, pinning, takeover_of
from mts1b_platform.eventbus.streams import STREAMS

_SECOND = 1_000_000_000
_VERSIONED: Final = re.compile(r"mts\.v(?P<version>\d+)\.(?P<rest>.+)")
SERVICE: Final = "mts-service"
"""In the metadata of a durable: the repo that reads with it."""
DEFAULT_ACK_WAIT: Final = 30.0
"""Seconds after which an event of a crashed process is given to another, when nobody says otherwise."""


class Kept(NamedTuple):
    """What a durable is on the server, where its reader needs to know."""

    ack_wait: float
    """Seconds after which an unanswered event is delivered again."""
    takeover: float
    """Seconds from the last sign of life of one instance until another takes over; 0 for a plain durable."""


async def stream_of(client: Requester, subjects: Sequence[DurableSubject[Any]]) -> str:
    """The one stream that stores all of ``subjects``.

    Raises:
        NoStream: no stream stores one of them.
        ConsumeError: they are stored in different streams.
    """
    found: dict[str, str] = {}
    for subject in subjects:
        for pattern in subject.patterns:
            found[pattern] = await _stream_of(client, pattern)
    names = sorted(set(found.values()))
    if len(names) > 1:
        raise ConsumeError(
            f"one durable reads one stream, but these subjects are stored in {' and '.join(names)}: "
            f"{', '.join(s.pattern for s in subjects)}; use one durable for each"
        )
    return names[0]


async def _stream_of(client: Requester, pattern: str) -> str:
    for definition in STREAMS:
        if any(contains(stored, pattern) for stored in definition.subjects):
            return definition.name
    names: list[str] = (await js_api(client, "STREAM.NAMES", {"subject": pattern})).get("streams") or []
    if not names:
        raise NoStream(f"{pattern}: no stream stores this subject; create the streams with `mts1b streams apply`")
    return names[0]


async def ensure_durable(
    client: Requester,
    *,
    stream: str,
    durable: str,
    filters: Sequence[str],
    ack_wait: float | None,
    deliver: Deliver,
    max_ack_pending: int,
    inactive_threshold: float | None = None,
    service: str | None = None,
    pinned: bool = False,
    takeover: float | None = None,
) -> Kept:
    """Create the durable, or check that the one that exists keeps what is promised; what it is on the server.

    What is left out (None) is read from the durable that exists. What is stated and differs is refused, and so is
    whatever would break a promise: headers without payloads, a limit on deliveries.

    One that reads fewer is widened when the stream holds nothing yet of what comes to it: a reader moves on to the next
    version of a subject, keeping what it has read. Were something stored already, the server could skip it silently.

    One that reads newer versions of the same subjects as well is left as it is: this is an older release beside, or
    after, a newer one. What it cannot read waits for the newer one.

    ``service`` goes into the metadata of one that is created, for people who look at it.

    A ``pinned`` one hands its messages to one client at a time, and to another ``takeover`` seconds after that one's
    last sign of life. One that is plain becomes pinned in place when nobody reads it.

    Redelivery is unlimited on the server: the consumer counts tries, and dead-letters before it gives up.

    Raises:
        ConsumerConflict: it exists and reads other subjects, or pushes, or does not wait for acks.
        NoStream: the stream does not exist.
        ConsumeError: the server refuses the consumer.
    """
    try:
        held = (await js_api(client, f"CONSUMER.INFO.{stream}.{durable}"))["config"]
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            raise no_stream(stream, f"durable {durable!r}") from None
        if error.err_code != ErrorCode.CONSUMER_NOT_FOUND:
            raise ConsumeError(f"durable {durable!r} on {stream}: {error}") from error
    else:
        if set(held_filters(held)) < set(filters):
            held = await _widen(client, stream, durable, held, filters)
        if pinned and not is_pinned(held):
            held = await pin_in_place(client, stream, durable, held, takeover or DEFAULT_TAKEOVER)
        return _checked(stream, durable, held, filters, ack_wait, inactive_threshold, pinned=pinned, takeover=takeover)
    config: dict[str, Any] = {
        "durable_name": durable,
        "name": durable,
        "ack_policy": "explicit",
        "ack_wait": int((ack_wait or DEFAULT_ACK_WAIT) * _SECOND),
        "max_deliver": -1,
        "max_ack_pending": max_ack_pending,
        "filter_subjects": list(filters),
        **_start(deliver),
    }
    if service is not None:
        config["metadata"] = {SERVICE: service}
    if inactive_threshold is not None:
        config["inactive_threshold"] = int(inactive_threshold * _SECOND)
    if pinned:
        config |= pinning(takeover or DEFAULT_TAKEOVER)
    body = {"stream_name": stream, "config": config, "action": "create"}
    try:
        held = (await js_api(client, f"CONSUMER.CREATE.{stream}.{durable}", body))["config"]
    except ApiError as error:
        if "already exists" in error.description:  # another instance was faster, with other settings
            held = (await js_api(client, f"CONSUMER.INFO.{stream}.{durable}"))["config"]
            return _checked(
                stream, durable, held, filters, ack_wait, inactive_threshold, pinned=pinned, takeover=takeover
            )
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:  # deleted since it was asked for
            raise no_stream(stream, f"durable {durable!r}") from None
        raise ConsumeError(f"durable {durable!r} on {stream}: {error}") from error
    if pinned and not is_pinned(held):  # a plain one was made, which nobody has asked for
        await js_api(client, f"CONSUMER.DELETE.{stream}.{durable}")
        raise _old_server(stream, durable)
    return Kept(ack_wait or DEFAULT_ACK_WAIT, takeover_of(held))


async def pin_in_place(
    client: Requester, stream: str, durable: str, held: Mapping[str, Any], takeover: float | None
) -> dict[str, Any]:
    """Make a plain durable pinned, or without a ``takeover`` a pinned one plain; it keeps its position.

    Args:
        client: the connection.
        stream: name of the stream.
        durable: name of the consumer.
        held: its configuration on the server.
        takeover: seconds from the last sign of life of one instance until another takes over.

    Raises:
        ConsumerConflict: somebody reads it, or this identity may not change it.
        ConsumeError: the server refuses the change, or is too old for it.
    """
    kind = "plain" if takeover else "pinned"
    info = await js_api(client, f"CONSUMER.INFO.{stream}.{durable}")
    if info.get("num_waiting") or info.get("push_bound"):
        raise ConsumerConflict(
            f"durable {durable!r} on {stream} is a {kind} one, and somebody reads it: it cannot become another kind "
            f"under a reader, which would go on reading beside the new ones. Stop its {info.get('num_waiting', 0)} "
            "waiting pulls, that is every instance of its reader, and try again; it keeps its position"
        )
    config = {**held, **(pinning(takeover) if takeover else not_pinned())}
    body = {"stream_name": stream, "config": config, "action": "update"}
    try:
        changed = (await js_api(client, f"CONSUMER.CREATE.{stream}.{durable}", body))["config"]
    except AccessDenied as denied:
        raise ConsumerConflict(
            f"durable {durable!r} on {stream} is a {kind} one, and this identity may not change it: declare it with "
            '`instances="standby"` and run `mts1b streams apply` while nobody reads it; it keeps its position'
        ) from denied
    except ApiError as error:
        raise ConsumeError(f"durable {durable!r} on {stream} cannot become another kind: {error}") from error
    if takeover and not is_pinned(changed):
        raise _old_server(stream, durable)
    return changed


def _old_server(stream: str, durable: str) -> ConsumeError:
    return ConsumeError(
        f"durable {durable!r} on {stream}: the server knows no pinned consumers, which several instances in order "
        "need: nats-server 2.11 is the first that has them"
    )


def no_stream(stream: str, reader: str) -> NoStream:
    """The error of ``reader``, in words, for whom there is no such stream."""
    return NoStream(
        f"stream {stream} does not exist on the server, so {reader} cannot read it; create the streams with "
        "`mts1b streams apply`"
    )


def held_filters(held: dict[str, Any]) -> list[str]:
    """The subjects that a consumer reads by its configuration; one empty name when it reads the whole stream."""
    return held.get("filter_subjects") or [held.get("filter_subject", "")]


async def _widen(
    client: Requester, stream: str, durable: str, held: dict[str, Any], filters: Sequence[str]
) -> dict[str, Any]:
    reads = held_filters(held)
    new = [each for each in filters if each not in reads]
    if "" in reads or await _stores(client, stream, new):
        return held  # it reads everything, or would skip what is stored: the comparison that follows says so
    config = {name: value for name, value in held.items() if name != "filter_subject"} | {
        "filter_subjects": list(filters)
    }
    body = {"stream_name": stream, "config": config, "action": "update"}
    try:
        return (await js_api(client, f"CONSUMER.CREATE.{stream}.{durable}", body))["config"]
    except ApiError as error:
        raise ConsumeError(f"durable {durable!r} on {stream} cannot be widened to {', '.join(new)}: {error}") from error


async def _stores(client: Requester, stream: str, patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        state = (await js_api(client, f"STREAM.INFO.{stream}", {"subjects_filter": pattern}))["state"]
        if state.get("subjects"):
            return True
    return False


async def durable_exists(client: Requester, stream: str, durable: str) -> bool:
    """Whether the server still has the durable.

    Raises:
        JetStreamUnavailable: nobody can say right now.
    """
    try:
        await js_api(client, f"CONSUMER.INFO.{stream}.{durable}", timeout=2)
    except ApiError as error:
        if error.err_code in (ErrorCode.CONSUMER_NOT_FOUND, ErrorCode.STREAM_NOT_FOUND):
            return False
        raise
    return True


def _start(deliver: Deliver) -> dict[str, str]:
    if isinstance(deliver, datetime):
        moment = deliver.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return {"deliver_policy": "by_start_time", "opt_start_time": moment}
    return {"deliver_policy": deliver}


def _checked(
    stream: str,
    durable: str,
    held: dict[str, Any],
    filters: Sequence[str],
    ack_wait: float | None,
    inactive_threshold: float | None,
    *,
    pinned: bool,
    takeover: float | None,
) -> Kept:
    """Check that ``held`` keeps what is promised; what it is."""
    reads = held_filters(held)
    kind: list[str] = []
    if not _reads_the_same(reads, filters):
        kind.append(f"it reads {', '.join(reads)}, wanted {', '.join(filters)}")
    if held.get("deliver_subject"):
        kind.append("it is a push consumer, wanted a pull consumer")
    if held.get("ack_policy") != "explicit":
        kind.append(f"its ack policy is {held.get('ack_policy')}, wanted explicit")
    if is_pinned(held) and not pinned:
        raise ConsumerConflict(
            f"durable {durable!r} on {stream} is a pinned one, for several instances in order: read it with "
            '`ordered_by=…, instances="standby"`, or declare it without instances, stop its readers and run '
            "`mts1b streams apply`, which makes it plain and keeps its position"
        )
    if kind:
        raise ConsumerConflict(
            f"durable {durable!r} on {stream} exists and differs: {'; '.join(kind)}. Use another durable name, or "
            f"delete this one with `nats consumer rm {stream} {durable}`, which forgets what it has read"
        )
    settings: list[str] = []
    if held.get("headers_only"):
        settings.append("it delivers headers without payloads")
    if held.get("max_deliver", -1) > 0:
        settings.append(f"the server gives an event up after {held['max_deliver']} deliveries, without a dead letter")
    for name, field, stated in (
        ("ack_wait", "ack_wait", ack_wait),
        ("inactive_threshold", "inactive_threshold", inactive_threshold),
        ("takeover", "priority_timeout", takeover),
    ):
        if stated is not None and held.get(field, 0) != int(stated * _SECOND):
            settings.append(f"its {name} is {held.get(field, 0) / _SECOND:g} s, {stated:g} s is asked for")
    if settings:
        raise ConsumerConflict(
            f"durable {durable!r} on {stream} exists with other settings: {'; '.join(settings)}. Declare it so and run "
            "`mts1b streams apply`, which changes them and keeps its position; or leave out what it is to keep"
        )
    return Kept(held["ack_wait"] / _SECOND, takeover_of(held))


def _reads_the_same(reads: Sequence[str], filters: Sequence[str]) -> bool:
    """Whether a durable reads what is wanted, and beside it at most newer versions of that."""
    return set(filters) <= set(reads) and all(
        each in filters or any(is_newer(each, known) for known in filters) for each in reads
    )


def is_newer(subject: str, known: str) -> bool:
    """Whether ``subject``, concrete or a pattern, is a later version of what the pattern ``known`` covers."""
    later, earlier = _VERSIONED.fullmatch(subject), _VERSIONED.fullmatch(known)
    return (
        later is not None
        and earlier is not None
        and int(later["version"]) > int(earlier["version"])
        and contains(earlier["rest"], later["rest"])
    )
