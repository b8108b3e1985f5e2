"""Readers with several instances: who is handed events, since when, of which keys; and having another take over."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mts1b_foundation.subjects import decode_token, encode_token
from mts1b_platform.by_hand import Deed, declared_here
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.consumers import ConsumerDefinition
from mts1b_platform.eventbus.dedupe.kv import BUCKET
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.in_office import read_term, term_key
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.pins import PIN_GROUP, is_pinned, pinned_client

from mts1b_operations.consumers_by_hand import ConsumerError, consumer_info
from mts1b_operations.lag import ConsumerLag, consumer_lags


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """One durable that several instances read, one of them at a time.

    Attributes:
        stream: what it reads.
        group: the reader's name; of shared keys what its durables begin with.
        durable: the durable's.
        key: of shared keys, the key; empty else.
        active: who was handed its messages last, by the name that the instance gave itself; None when nobody ever was.
        pinned: whether somebody is now.
        since: since when, RFC 3339; None when nobody is.
        term: the number of this time in office, or of the last one; 0 when there was none.
        takeover: seconds from the last sign of life of one instance until another takes over.
        lag: where the durable stands.
    """

    stream: str
    group: str
    durable: str
    key: str
    active: str | None
    pinned: bool
    since: str | None
    term: int
    takeover: float
    lag: ConsumerLag


@dataclass(frozen=True, slots=True)
class Unread:
    """Messages of a stream that no declared key of a group reads."""

    subject: str
    key: str | None
    """The key that is missing; None of a form without a key."""
    messages: int


async def offices(bus: EventBus, *, stream: str | None = None) -> list[Office]:
    """Every durable for several instances (of one stream, when given), by stream and name.

    Raises:
        StreamError: there is no such stream.
        JetStreamUnavailable: JetStream does not answer.
        ApiError: this identity may not ask.
    """
    pinned = [lag for lag in await consumer_lags(bus, stream=stream) if lag.takeover]
    return list(await asyncio.gather(*(_office(bus, lag) for lag in pinned)))


async def group_of(bus: EventBus, stream: str, name: str) -> list[Office]:
    """The durables of one group, by its name or that of one of its durables.

    Raises:
        ConsumerError: there is none.
    """
    found = await offices(bus, stream=stream)
    wanted = [each for each in found if name in (each.group, each.durable)]
    if not wanted:
        await consumer_info(bus, stream, name)  # says so when there is no such consumer at all
        raise ConsumerError(
            f"{stream}/{name} is no reader with several instances: `mts1b groups ls` lists those there are"
        )
    return wanted


async def unread(bus: EventBus, stream: str, group: str) -> list[Unread]:
    """What ``stream`` holds for the group and no declared key of it reads; empty of a group without declared keys."""
    declared = [each for each in _declared() if (each.stream, each.group) == (stream, group)]
    keys = {each.key for each in declared}
    found: dict[str, Unread] = {}
    for pattern, at in dict.fromkeys(_form(form, each.key) for each in declared for form in each.filters):
        for subject, messages in (await _subjects(bus, stream, pattern)).items():
            key = decode_token(subject.split(".")[at])
            if key not in keys:
                found[subject] = Unread(subject, key, messages)
        bare, fund, last = pattern.rpartition(".fund.")
        if fund and last == "*":
            without = await _subjects(bus, stream, bare)
            found.update({subject: Unread(subject, None, messages) for subject, messages in without.items()})
    return [found[subject] for subject in sorted(found)]


async def look_at_move(bus: EventBus, stream: str, name: str) -> Deed:
    """What having another instance take over would do.

    Raises:
        ConsumerError: there is no such durable, it is no pinned one, or nobody is handed its messages.
    """
    info = await consumer_info(bus, stream, name)
    if not is_pinned(info["config"]):
        raise ConsumerError(f"{stream}/{name} is no reader with several instances: there is nobody to take over")
    if not pinned_client(info):
        raise ConsumerError(f"{stream}/{name}: no instance is handed its messages now; the next message decides")
    return Deed(
        action="groups move",
        target=f"{stream}/{name}",
        effects=(
            f"the active instance is handed nothing more; one of those that wait is ({info['num_waiting']} pulls wait)",
            "when no other waits, or it has become active just now, the same one may go on with a new term",
            f"what it has in hand is called back: {info['num_ack_pending']} messages are not acknowledged",
            "without a SQL store some of these may be handled twice",
        ),
        facts={"stream": stream, "consumer": name, "unacknowledged": info["num_ack_pending"]},
        state=pinned_client(info),
    )


async def move(bus: EventBus, deed: Deed) -> None:
    """Have another instance take over."""
    await js_api(bus, f"CONSUMER.UNPIN.{deed.facts['stream']}.{deed.facts['consumer']}", {"group": PIN_GROUP})


async def _office(bus: EventBus, lag: ConsumerLag) -> Office:
    declared = next((each for each in _declared() if (each.stream, each.durable) == (lag.stream, lag.consumer)), None)
    term, member = await _term(bus, lag.stream, lag.consumer)
    return Office(
        stream=lag.stream,
        group=declared.group if declared is not None and declared.group else lag.consumer,
        durable=lag.consumer,
        key=declared.key if declared is not None else "",
        active=member or None,
        pinned=bool(lag.pin),
        since=lag.pinned_at,
        term=term,
        takeover=lag.takeover,
        lag=lag,
    )


async def _term(bus: EventBus, stream: str, durable: str) -> tuple[int, str]:
    try:
        held = await read_stored(bus, f"KV_{BUCKET}", last_by=f"$KV.{BUCKET}.{term_key(stream, durable)}")
    except ApiError as error:
        if error.err_code != ErrorCode.STREAM_NOT_FOUND:
            raise
        return 0, ""
    return (0, "") if held is None else read_term(held.wire.payload)


def _declared() -> Iterable[ConsumerDefinition]:
    return (each for each in declared_here().consumers if isinstance(each, ConsumerDefinition))


def _form(form: str, key: str) -> tuple[str, int]:
    """The subjects of every key, and in which token the key stands."""
    tokens = form.split(".")
    at = len(tokens) - 1 - tokens[::-1].index(encode_token(key))
    tokens[at] = "*"
    return ".".join(tokens), at


async def _subjects(bus: EventBus, stream: str, pattern: str) -> dict[str, int]:
    info: dict[str, Any] = await js_api(bus, f"STREAM.INFO.{stream}", {"subjects_filter": pattern})
    return info["state"].get("subjects") or {}
