"""What purging or deleting a stream would do, and doing it."""

from typing import Any

from mts1b_platform.by_hand import Deed, is_name
from mts1b_platform.eventbus import EventBus, StreamError
from mts1b_platform.eventbus.declared import Declared
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode


async def look_at_purge(
    bus: EventBus, name: str, wanted: Declared, *, subject: str | None = None, keep: int | None = None
) -> Deed:
    """What purging ``name`` would delete, as it is now. What is stored after this look is not deleted.

    Raises:
        StreamError: there is no such stream.
    """
    info = await _info(bus, name, subject)
    state = info["state"]
    by_subject: dict[str, int] = state.get("subjects") or {}
    held = sum(by_subject.values()) if subject else int(state["messages"])
    going = max(0, held - (keep or 0))
    what = f"messages on {subject}" if subject else "messages"
    since = f", all but the newest {keep:,} of that moment" if keep else "; what is stored from now on stays"
    unread = await _unread(bus, name)
    effects = [
        f"deletes {going:,} {what}{since}",
        *(f"durable {durable} has not acknowledged {count:,} of the stream" for durable, count in unread.items()),
    ]
    facts = {"stream": name, "subject": subject, "keep": keep, "messages": going, "unread": unread}
    return Deed(
        action="streams purge",
        target=name,
        effects=tuple(effects),
        facts=facts | {"up_to_seq": state["last_seq"]},
        declared_by=wanted.owner(name),
        state=info["created"],
    )


async def purge(bus: EventBus, deed: Deed) -> None:
    """Delete what was shown."""
    body: dict[str, Any] = {"filter": deed.facts["subject"]} if deed.facts["subject"] else {}
    if deed.facts["keep"]:  # the server takes either: keeping counts from the newest of its moment
        body["keep"] = deed.facts["keep"]
    else:
        body["seq"] = deed.facts["up_to_seq"] + 1
    await js_api(bus, f"STREAM.PURGE.{deed.target}", body, timeout=30)


async def look_at_removal(bus: EventBus, name: str, wanted: Declared) -> Deed:
    """What deleting ``name`` would do.

    Raises:
        StreamError: there is no such stream.
    """
    info = await _info(bus, name)
    state, unread = info["state"], await _unread(bus, name)
    effects = [
        f"deletes the stream with its {state['messages']:,} messages ({state['bytes']:,} bytes)",
        f"deletes its {state['consumer_count']:,} consumers with what they have read",
        *(f"durable {durable} has not acknowledged {count:,}" for durable, count in unread.items()),
        f"nothing stores {', '.join(info['config'].get('subjects') or ())} from then on: durable publishes fail",
    ]
    if owner := wanted.owner(name):
        effects.append(f"`mts1b streams apply` makes it again, empty, as {owner} declares it")
    facts = {"stream": name, "messages": state["messages"], "bytes": state["bytes"], "unread": unread}
    return Deed(
        action="streams rm",
        target=name,
        effects=tuple(effects),
        facts=facts,
        declared_by=wanted.owner(name),
        state=(info["created"], state["last_seq"]),
    )


async def remove(bus: EventBus, deed: Deed) -> None:
    """Delete the stream."""
    try:
        await js_api(bus, f"STREAM.DELETE.{deed.target}", timeout=30)
    except ApiError as error:  # asked again after a lost answer, it is gone
        if error.err_code != ErrorCode.STREAM_NOT_FOUND:
            raise


async def _info(bus: EventBus, name: str, subject: str | None = None) -> dict[str, Any]:
    if is_name(name):
        try:
            return await js_api(bus, f"STREAM.INFO.{name}", {"subjects_filter": subject} if subject else None)
        except ApiError as error:
            if error.err_code != ErrorCode.STREAM_NOT_FOUND:
                raise
    raise StreamError(f"there is no stream {name!r} on the server: `mts1b streams ls` lists those there are")


async def _unread(bus: EventBus, name: str) -> dict[str, int]:
    """By consumer, how many messages it has not acknowledged; only those that have some."""
    found: dict[str, int] = {}
    offset = 0
    while True:
        page = await js_api(bus, f"CONSUMER.LIST.{name}", {"offset": offset})
        consumers: list[dict[str, Any]] = page.get("consumers") or []
        found |= {each["name"]: each["num_pending"] + each["num_ack_pending"] for each in consumers}
        offset += len(consumers)
        if offset >= page["total"] or not consumers:
            return {durable: count for durable, count in found.items() if count}
