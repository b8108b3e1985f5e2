"""Bringing the server's streams to what is declared.

Idempotent: equal configurations send nothing (an update can lose delayed redeliveries). A differing one sends the
server's own document with only the differing fields replaced, so that nothing else is reset. A change that could
delete messages is refused before anything is touched, unless it was allowed.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from mts1b_platform.config import Profile
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.errors import JetStreamUnavailable, StreamError
from mts1b_platform.eventbus.jetstream.api import ApiError, Requester, js_api
from mts1b_platform.eventbus.jetstream.durables import is_newer
from mts1b_platform.eventbus.jetstream.stream_plan import StreamChange, compare
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.streams import StreamDefinition
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.streams")


async def plan_streams(
    client: Requester, *, profile: Profile = "minimal", streams: Iterable[StreamDefinition] | None = None
) -> list[StreamChange]:
    """What :func:`apply_streams` would do; changes nothing.

    Raises:
        ContributionError: without ``streams``, when what packages contribute does not load.
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    changes: list[StreamChange] = []
    for wanted in _render(streams, profile):
        held = await _held(client, wanted["name"])
        _keep_newer_subjects(wanted, held.config)
        changes.append(compare(wanted, held.config, stored=held.bytes))
    return changes


async def apply_streams(
    client: Requester,
    *,
    profile: Profile = "minimal",
    streams: Iterable[StreamDefinition] | None = None,
    allow_destructive: bool = False,
) -> list[StreamChange]:
    """Create the streams that are missing and update those that differ; one change per definition.

    Args:
        client: the bus, as somebody who may manage streams.
        profile: how many replicas.
        streams: what shall be there; without, everything that is declared.
        allow_destructive: whether changes may delete stored messages.

    Raises:
        ContributionError: without ``streams``, when what packages contribute does not load.
        StreamError: a change could delete messages and ``allow_destructive`` was not given, or a field cannot be
            changed in place (nothing was touched); or the server refuses one (those before it were applied).
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    wanted = _render(streams, profile)
    held = [await _held(client, config["name"]) for config in wanted]
    for config, current in zip(wanted, held, strict=True):
        _keep_newer_subjects(config, current.config)
    changes = [
        compare(config, current.config, stored=current.bytes) for config, current in zip(wanted, held, strict=True)
    ]
    for change in changes:
        _permit(change, allow_destructive=allow_destructive)
    for change, config, current in zip(changes, wanted, held, strict=True):
        if change.action != "unchanged":
            await _send(client, change, {**(current.config or {}), **config})
    return changes


async def unknown_streams(client: Requester, streams: Iterable[StreamDefinition] | None = None) -> list[str]:
    """Streams on the server that nobody has declared, sorted; those behind key-value buckets are left out.

    Raises:
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    known = {definition.name for definition in (declared().streams if streams is None else streams)}
    names: set[str] = set()
    while True:
        page = await js_api(client, "STREAM.NAMES", {"offset": len(names)})
        names.update(page.get("streams") or ())
        if len(names) >= page["total"] or not page.get("streams"):
            break
    return sorted(name for name in names - known if not name.startswith(("KV_", "OBJ_")))


async def stream_config(client: Requester, name: str) -> dict[str, Any] | None:
    """The configuration of a stream as the server holds it; None when there is no such stream.

    Raises:
        StreamError: the server refuses to say.
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    return (await _held(client, name)).config


class _Held(NamedTuple):
    """A stream as the server holds it; without a configuration there is none."""

    config: dict[str, Any] | None = None
    bytes: int = 0


async def _held(client: Requester, name: str) -> _Held:
    try:
        info = await js_api(client, f"STREAM.INFO.{name}")
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            return _Held()
        raise StreamError(f"stream {name}: {error}") from error
    return _Held(info["config"], int(info["state"]["bytes"]))


async def wait_for_jetstream(client: Requester, *, timeout: float = 10.0) -> None:
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


def _keep_newer_subjects(wanted: dict[str, Any], held: dict[str, Any] | None) -> None:
    """Leave a stream the subjects of newer versions: an older release takes nothing from a newer one."""
    known: list[str] = wanted["subjects"]
    newer = [
        subject
        for subject in (held or {}).get("subjects") or ()
        if subject not in known and any(is_newer(subject, each) for each in known)
    ]
    if newer:
        log.warning("the stream keeps subjects of a newer release", stream=wanted["name"], subjects=newer)
        wanted["subjects"] = [*known, *newer]


def _render(streams: Iterable[StreamDefinition] | None, profile: Profile) -> list[dict[str, Any]]:
    return [definition.render(profile) for definition in (declared().streams if streams is None else streams)]


def _permit(change: StreamChange, *, allow_destructive: bool) -> None:
    for field in change.fields:
        what = f"stream {change.stream}: {field.name} from {field.held!r} to {field.wanted!r}"
        if not field.in_place:
            raise StreamError(f"{what} {field.why}. Nothing was changed")
        if field.risk == "destructive" and not allow_destructive:
            raise StreamError(
                f"{what}: {field.why}. Nothing was changed; when that is what you want, allow it with "
                "`mts1b streams apply --allow-destructive`"
            )


async def _send(client: Requester, change: StreamChange, config: dict[str, Any]) -> None:
    verb = "CREATE" if change.action == "created" else "UPDATE"
    try:
        await js_api(client, f"STREAM.{verb}.{change.stream}", config, timeout=10)
    except ApiError as error:
        raise StreamError(f"stream {change.stream}: {error}{_hint(error)}") from error


def _hint(error: ApiError) -> str:
    if "overlap" in error.description:
        return "; another stream stores some of these subjects: `mts1b streams ls` names it"
    if "insufficient storage" in error.description:
        return (
            "; the sizes of the streams add up to more than max_file_store in nats.conf: `mts1b-deploy install` writes "
            "what they need"
        )
    if "insufficient" in error.description or "replicas" in error.description:
        return "; the profile wants more nodes than the cluster has"
    return ""
