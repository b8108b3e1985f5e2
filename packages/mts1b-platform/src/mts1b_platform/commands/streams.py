"""Streams: what is declared, what the server has, and bringing one to the other."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from mts1b_platform.config import Profile, Settings
from mts1b_platform.eventbus import (
    STREAMS,
    EventBus,
    StreamChange,
    StreamError,
    apply_streams,
    connect,
    plan_streams,
    stream_config,
    unknown_streams,
)
from mts1b_platform.eventbus.consumers import declared_streams
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.apply_consumers import ConsumerChange, apply_consumers
from mts1b_platform.observability.audit import audit_action
from mts1b_platform.output import Json, noun, print_json, print_listing, say

ADMIN = "mts1b-deploy"
"""Who may manage streams and consumers on a secured bus."""

app = noun(__doc__ or "")

Servers = Annotated[str | None, typer.Option("--servers", help="NATS URLs; otherwise as configured.")]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="minimal, single or production; otherwise as configured.")
]
R = TypeVar("R")


@app.command("ls")
def ls(*, servers: Servers = None, as_json: Json = False) -> None:
    """List declared streams beside what the server holds; unknown streams on the server too.

    Example: mts1b streams ls --json
    """

    async def rows(bus: EventBus) -> list[dict[str, Any]]:
        declared = [await _row(bus, definition.name, known=True) for definition in STREAMS]
        return declared + [await _row(bus, name, known=False) for name in await unknown_streams(bus)]

    columns = ("stream", "status", "messages", "bytes", "consumers", "replicas")
    print_listing(_on_bus(rows, servers), as_json=as_json, columns=columns)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Name of the stream.")], *, servers: Servers = None) -> None:
    """Print one stream's configuration as the server holds it, as JSON.

    Example: mts1b streams show OMS_ORDERS
    """
    config = _on_bus(lambda bus: stream_config(bus, name), servers)
    if config is None:
        known = ", ".join(definition.name for definition in STREAMS)
        raise StreamError(f"there is no stream {name!r} on the server (declared: {known}); `mts1b streams apply`")
    print_json(config)


@app.command("plan")
def plan(*, servers: Servers = None, profile: ProfileOption = None, as_json: Json = False) -> None:
    """Say what `apply` would change, field by field, and how dangerous that is. Exit code 1 when something differs.

    Example: mts1b streams plan --profile production
    """
    changes = _on_bus(lambda bus: plan_streams(bus, profile=_profile(bus, profile)), servers)
    _print_changes(changes, as_json=as_json)
    if any(change.action != "unchanged" for change in changes):
        sys.exit(1)


@app.command("apply")
def apply(
    *,
    servers: Servers = None,
    profile: ProfileOption = None,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Allow changes that may delete stored messages.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create and update streams as declared. Sends nothing where nothing differs.

    On a secured bus also the durables that services declare and the dedupe bucket, as services may not create any.

    Example: mts1b streams apply
    """

    async def act(bus: EventBus) -> tuple[list[StreamChange], list[ConsumerChange]]:
        wanted = _profile(bus, profile)
        # Elsewhere services create the streams that are theirs alone when they first need them.
        streams = STREAMS if wanted == "minimal" else declared_streams()
        plan = await plan_streams(bus, profile=wanted, streams=streams)
        planned = [change.stream for change in plan if change.action != "unchanged"]
        if planned:
            audit_action(bus, "streams apply", actor=_user(), streams=planned, allow_destructive=allow_destructive)
        changes = await apply_streams(bus, profile=wanted, streams=streams, allow_destructive=allow_destructive)
        if wanted == "minimal":  # services make their durables and the bucket of handled events themselves
            return changes, []
        await KvDedupe(bus).ensure_bucket()
        return changes, await apply_consumers(bus)

    changes, durables = _on_bus(act, servers)
    _print_changes(changes, as_json=as_json)
    for durable in () if as_json else durables:
        say(f"{durable.action:<10} {durable.stream}, durable {durable.durable} of {durable.service}")


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        return None


def _on_bus(work: Callable[[EventBus], Awaitable[R]], servers: str | None) -> R:
    settings = Settings.load()
    # On a secured bus only the administration may manage streams, and this command is its.
    service = ADMIN if settings.tls_dir is not None and settings.service is None else None

    async def run() -> R:
        async with await connect(servers, service=service) as bus:
            return await work(bus)

    return asyncio.run(run())


def _profile(bus: EventBus, asked: str | None) -> Profile:
    return bus.settings.profile if asked is None else type(bus.settings).load(profile=asked).profile


async def _row(bus: EventBus, name: str, *, known: bool) -> dict[str, Any]:
    held = await stream_config(bus, name)
    state: dict[str, Any] = (await js_api(bus, f"STREAM.INFO.{name}"))["state"] if held else {}
    status = ("ok" if held else "missing") if known else "not declared"
    return {
        "stream": name,
        "status": status,
        "messages": state.get("messages"),
        "bytes": state.get("bytes"),
        "consumers": state.get("consumer_count"),
        "replicas": (held or {}).get("num_replicas"),
        "subjects": (held or {}).get("subjects"),
    }


def _print_changes(changes: list[StreamChange], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "stream": change.stream,
                    "action": change.action,
                    "risk": change.risk,
                    "fields": [
                        {"name": f.name, "server": f.held, "wanted": f.wanted, "risk": f.risk, "why": f.why}
                        for f in change.fields
                    ],
                }
                for change in changes
            ]
        )
        return
    for change in changes:
        say(f"{change.action:<10} {change.stream}")
        for field in change.fields:
            say(f"           {field.name}: {field.held} -> {field.wanted}  [{field.risk}: {field.why}]")
