"""Bringing the server's streams to what ``streams.py`` says, and saying first what would change.

Applying is idempotent: equal configurations send nothing (an update can lose delayed redeliveries), differing ones
send the server's own document with only the differing fields replaced, so that nothing else is reset.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from nats.aio.client import Client

from mts1b_platform.config import Profile
from mts1b_platform.eventbus.api import NOT_FOUND_STREAM, ApiError, js_api
from mts1b_platform.eventbus.errors import JetStreamUnavailable, StreamError
from mts1b_platform.eventbus.streams import STREAMS, StreamDefinition

Action = Literal["created", "updated", "unchanged"]

_IMMUTABLE = frozenset({"retention", "storage"})
_SHRINKING = frozenset({"max_age", "max_msgs_per_subject"})


@dataclass(frozen=True, slots=True)
class StreamChange:
    """What differs between one definition and the server.

    ``fields`` maps each differing field to the value on the server and the value wanted. ``destructive`` names those
    whose change could delete stored messages.
    """

    stream: str
    action: Action
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])
    destructive: tuple[str, ...] = ()


async def plan_streams(
    client: Client, *, profile: Profile = "minimal", streams: Iterable[StreamDefinition] = STREAMS
) -> list[StreamChange]:
    """What :func:`apply_streams` would do; changes nothing.

    Raises:
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    return [_compare(wanted, await _current(client, wanted["name"])) for wanted in _render(streams, profile)]


async def apply_streams(
    client: Client,
    *,
    profile: Profile = "minimal",
    streams: Iterable[StreamDefinition] = STREAMS,
    allow_destructive: bool = False,
) -> list[StreamChange]:
    """Create the streams that are missing and update those that differ; one change per definition.

    Nothing is touched when any change is refused.

    Raises:
        StreamError: a change could delete messages and ``allow_destructive`` was not given, a field cannot be changed
            in place, or the server refuses it.
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    wanted = _render(streams, profile)
    current = [await _current(client, config["name"]) for config in wanted]
    changes = [_compare(config, held) for config, held in zip(wanted, current, strict=True)]
    for change in changes:
        _permit(change, allow_destructive=allow_destructive)
    for change, config, held in zip(changes, wanted, current, strict=True):
        await _carry_out(client, change, config, held)
    return changes


def _render(streams: Iterable[StreamDefinition], profile: Profile) -> list[dict[str, Any]]:
    return [definition.render(profile) for definition in streams]


async def _current(client: Client, name: str) -> dict[str, Any] | None:
    try:
        return (await js_api(client, f"STREAM.INFO.{name}"))["config"]
    except ApiError as error:
        if error.err_code == NOT_FOUND_STREAM:
            return None
        raise StreamError(f"stream {name}: {error}") from error


def _compare(wanted: dict[str, Any], held: dict[str, Any] | None) -> StreamChange:
    name: str = wanted["name"]
    if held is None:
        return StreamChange(name, "created")
    fields = {key: (held.get(key), value) for key, value in wanted.items() if _differs(key, held.get(key), value)}
    if not fields:
        return StreamChange(name, "unchanged")
    return StreamChange(name, "updated", fields, tuple(key for key in fields if _loses(key, *fields[key])))


def _differs(key: str, held: Any, wanted: Any) -> bool:
    return set(held or ()) != set(wanted) if key == "subjects" else held != wanted


def _loses(key: str, held: Any, wanted: Any) -> bool:
    """Whether changing ``key`` could make the server delete messages that it holds."""
    if key in _SHRINKING:
        return wanted > 0 and (held is None or held <= 0 or wanted < held)
    return key in _IMMUTABLE


def _permit(change: StreamChange, *, allow_destructive: bool) -> None:
    for key in change.destructive:
        held, wanted = change.fields[key]
        if key in _IMMUTABLE:
            raise StreamError(
                f"stream {change.stream}: {key} is {held!r} on the server and cannot become {wanted!r} in place; back "
                "the stream up, delete it, and apply again"
            )
        if not allow_destructive:
            raise StreamError(
                f"stream {change.stream}: {key} from {held!r} to {wanted!r} may delete stored messages; nothing was "
                "changed. Allow it with allow_destructive=True when that is what you want"
            )


async def _carry_out(client: Client, change: StreamChange, wanted: dict[str, Any], held: dict[str, Any] | None) -> None:
    if change.action == "unchanged":
        return
    verb = "CREATE" if held is None else "UPDATE"
    try:
        await js_api(client, f"STREAM.{verb}.{change.stream}", {**(held or {}), **wanted}, timeout=10)
    except ApiError as error:
        raise StreamError(f"stream {change.stream}: {error}{_hint(error)}") from error


def _hint(error: ApiError) -> str:
    if "overlap" in error.description:
        return "; another stream stores some of these subjects: `mts1b streams ls` names it"
    if "insufficient" in error.description or "replicas" in error.description:
        return "; the profile wants more nodes than the cluster has"
    return ""


async def wait_for_jetstream(client: Client, *, timeout: float = 10.0) -> None:
    """Return once JetStream answers.

    Raises:
        JetStreamUnavailable: it did not within ``timeout`` seconds.
    """
    end = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            await js_api(client, "INFO", timeout=1)
        except JetStreamUnavailable:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.05)
        else:
            return
