"""What deleting, moving, pausing or resuming a consumer would do, and doing it."""

from datetime import UTC, datetime
from typing import Any, Final, Literal

from mts1b_platform.by_hand import Deed, declared_here, is_name
from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode

Start = Literal["first", "next"] | int | datetime
"""Where a reset leads: the first stored message, the next one, a sequence, a time."""

_MOVABLE: Final = ("all", "by_start_sequence", "by_start_time")


class ConsumerError(BusError):
    """A consumer cannot be shown or changed as asked."""


async def consumer_info(bus: EventBus, stream: str, name: str) -> dict[str, Any]:
    """The server's own description of a consumer.

    Raises:
        ConsumerError: there is no such stream or consumer.
    """
    if is_name(stream) and is_name(name):
        try:
            return await js_api(bus, f"CONSUMER.INFO.{stream}.{name}")
        except ApiError as error:
            if error.err_code not in (ErrorCode.CONSUMER_NOT_FOUND, ErrorCode.STREAM_NOT_FOUND):
                raise
    raise ConsumerError(
        f"there is no consumer {name!r} on a stream {stream!r}: `mts1b consumers ls` lists those there are"
    )


def declarer(stream: str, name: str) -> str | None:
    """The service that a durable is declared for; None when nobody declares it."""
    return next(
        (each.service for each in declared_here().consumers if (each.stream, each.durable) == (stream, name)), None
    )


async def look_at_removal(bus: EventBus, stream: str, name: str) -> Deed:
    """What deleting a consumer would do."""
    info = await consumer_info(bus, stream, name)
    return _deed(
        "consumers rm",
        info,
        f"forgets what it has read: up to sequence {_floor(info):,} of {stream}",
        f"{_left(info):,} messages are not acknowledged",
        *_readers(info, "stop with an error"),
        "made again, it begins as it is declared or asked for: at the first stored message, unless told otherwise",
        *(("on a locked-down bus only `mts1b streams apply` makes it again",) if declarer(stream, name) else ()),
    )


async def remove(bus: EventBus, deed: Deed) -> None:
    """Delete the consumer."""
    try:
        await js_api(bus, f"CONSUMER.DELETE.{_path(deed)}")
    except ApiError as error:  # asked again after a lost answer, it is gone
        if error.err_code != ErrorCode.CONSUMER_NOT_FOUND:
            raise


async def look_at_reset(bus: EventBus, stream: str, name: str, to: Start) -> Deed:
    """Where a consumer would go on, and what that means.

    Raises:
        ConsumerError: it cannot be moved there, or somebody reads with it now.
    """
    info = await consumer_info(bus, stream, name)
    if info["num_waiting"]:
        raise ConsumerError(
            f"{stream}/{name} is being read, {info['num_waiting']} pulls wait: its readers remember what they have "
            "acknowledged and would not see it again. Stop them first"
        )
    policy = info["config"].get("deliver_policy", "all")
    if policy not in _MOVABLE:
        raise ConsumerError(
            f"{stream}/{name} was made to deliver {policy!r}, and the server moves only those that deliver "
            "all, or from a start: delete it with `mts1b consumers rm` and let it be made again"
        )
    state = (await js_api(bus, f"STREAM.INFO.{stream}"))["state"]
    seq = await _sequence(bus, stream, to, state)
    floor = _floor(info)
    if seq <= floor:
        effect = f"delivers what lies between sequence {seq:,} and {floor:,} once more, acknowledged or not"
    elif seq > floor + 1:
        effect = f"skips what lies between sequence {floor + 1:,} and {seq - 1:,}: it is not delivered to it any more"
    else:
        effect = "changes nothing: it goes on where it is"
    notes = ["effects behind a dedupe store are not repeated"] if seq <= floor else []
    if out := info["num_ack_pending"]:
        notes.append(f"{out:,} messages are handed out: whoever holds them still, must have been stopped")
    return _deed("consumers reset", info, effect, *notes, seq=seq)


async def reset(bus: EventBus, deed: Deed) -> None:
    """Move the consumer."""
    await js_api(bus, f"CONSUMER.RESET.{_path(deed)}", {"seq": deed.facts["seq"]})


async def look_at_pause(bus: EventBus, stream: str, name: str, until: datetime) -> Deed:
    """What pausing a consumer would do."""
    if until <= datetime.now(UTC):
        raise ConsumerError(f"{until.isoformat()} is past: a pause ends in the future")
    info = await consumer_info(bus, stream, name)
    when = until.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return _deed(
        "consumers pause",
        info,
        f"delivers nothing until {when}, or until it is resumed; what comes waits, and its lag grows",
        "messages that reach a limit of the stream meanwhile are never delivered",
        *_readers(info, "wait"),
        pause_until=when,
    )


async def pause(bus: EventBus, deed: Deed) -> None:
    """Pause the consumer, or resume it."""
    until = deed.facts.get("pause_until")
    await js_api(bus, f"CONSUMER.PAUSE.{_path(deed)}", {"pause_until": until} if until else {})


async def look_at_resume(bus: EventBus, stream: str, name: str) -> Deed:
    """What resuming a consumer would do."""
    info = await consumer_info(bus, stream, name)
    if not info.get("paused"):
        raise ConsumerError(f"{stream}/{name} is not paused")
    return _deed("consumers resume", info, f"delivers again: {_left(info):,} messages wait")


def _deed(action: str, info: dict[str, Any], *effects: str, **facts: Any) -> Deed:
    stream, name = info["stream_name"], info["name"]
    return Deed(
        action=action,
        target=f"{stream}/{name}",
        effects=effects,
        facts={
            "stream": stream,
            "consumer": name,
            "unread": _left(info),
            **facts,
        },
        declared_by=declarer(stream, name),
        state=info["created"],
    )


def _path(deed: Deed) -> str:
    return f"{deed.facts['stream']}.{deed.facts['consumer']}"


def _floor(info: dict[str, Any]) -> int:
    """The last sequence up to which everything is settled."""
    return info["ack_floor" if info["num_ack_pending"] else "delivered"]["stream_seq"]


def _left(info: dict[str, Any]) -> int:
    return info["num_pending"] + info["num_ack_pending"]


def _readers(info: dict[str, Any], what: str) -> tuple[str, ...]:
    waiting = info["num_waiting"]
    return (f"its readers, of which {waiting} pulls wait now, {what}",) if waiting else ()


async def _sequence(bus: EventBus, stream: str, to: Start, state: dict[str, Any]) -> int:
    first, end = max(1, state["first_seq"]), state["last_seq"] + 1
    if to == "first":
        return first
    if to == "next":
        return end
    if isinstance(to, datetime):
        found = await read_stored(bus, stream, since=to, next_by=">")
        return found.seq if found else end
    if not first <= to <= end:
        raise ConsumerError(
            f"{stream} holds sequences {first:,} to {end - 1:,}: {to} is none of them, nor the next one"
        )
    return to
