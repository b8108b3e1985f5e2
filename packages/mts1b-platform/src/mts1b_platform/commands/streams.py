"""Streams: what is declared, what the server has, and bringing one to the other.

What is declared: by the foundation and the platform, by installed packages, by checkouts given with ``--checkout``.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mts1b_platform.by_hand import (
    Choices,
    Servers,
    as_admin,
    by_hand,
    declared_here,
    with_choices,
)
from mts1b_platform.command_line import user
from mts1b_platform.commands import _streams_by_hand as hand
from mts1b_platform.config import Profile
from mts1b_platform.eventbus import (
    EventBus,
    StreamChange,
    StreamError,
    apply_streams,
    plan_streams,
    stream_config,
    unknown_streams,
)
from mts1b_platform.eventbus.declared import Declared
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.apply_consumers import ConsumerChange, apply_consumers, plan_consumers
from mts1b_platform.observability.audit import audit_action
from mts1b_platform.output import Json, noun, print_json, print_listing, say

app = noun(__doc__ or "")

ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="minimal, single or production; otherwise as configured.")
]
Checkouts = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkout",
        metavar="DIR",
        help="A checkout whose streams and durables count as declared, too. Repeatable.",
        show_default=False,
    ),
]


@app.command("ls")
def ls(*, checkout: Checkouts = None, servers: Servers = None, as_json: Json = False) -> None:
    """List declared streams beside what the server holds; streams that nobody declares, too.

    Example: mts1b streams ls --json
    """
    wanted = declared_here(checkout)

    async def rows(bus: EventBus) -> list[dict[str, Any]]:
        known = [each.name for each in wanted.streams]
        return [await _row(bus, name, wanted) for name in (*known, *await unknown_streams(bus, wanted.streams))]

    columns = ("stream", "status", "declared_by", "messages", "bytes", "consumers", "replicas")
    print_listing(as_admin(rows, servers), as_json=as_json, columns=columns)


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="Name of the stream.")], *, servers: Servers = None) -> None:
    """Print one stream's configuration as the server holds it, as JSON.

    Example: mts1b streams show OMS_ORDERS
    """
    config = as_admin(lambda bus: stream_config(bus, name), servers)
    if config is None:
        known = ", ".join(definition.name for definition in declared_here().streams)
        raise StreamError(f"there is no stream {name!r} on the server (declared: {known}); `mts1b streams apply`")
    print_json(config)


@app.command("sizes")
def sizes(*, checkout: Checkouts = None, as_json: Json = False) -> None:
    """Show what each declared stream may take on a disk, and what that is reckoned from.

    The profiles single and production limit the streams so, and the server to a quarter more than their sum.

    Example: mts1b streams sizes --json
    """
    streams = declared_here(checkout).streams
    rows: list[dict[str, Any]] = [
        {
            "stream": each.name,
            "events_per_day": each.volume.per_day,
            "bytes_per_event": each.volume.event_bytes,
            "kept": each.max_age,
            "max_bytes": each.max_bytes,
            "gigabytes": round(each.max_bytes / 1e9, 2),
        }
        for each in streams
    ]
    print_listing(rows, as_json=as_json)
    if not as_json:
        say(f"{sum(each.max_bytes for each in streams) / 1e9:.1f} GB together")


@app.command("plan")
def plan(
    *,
    checkout: Checkouts = None,
    servers: Servers = None,
    profile: ProfileOption = None,
    as_json: Json = False,
) -> None:
    """Say what `apply` would change, field by field, and how dangerous that is. Exit code 1 when something differs.

    On a secured bus declared durables are compared, too.

    Example: mts1b streams plan --profile production
    """
    found = declared_here(checkout)

    async def look(bus: EventBus) -> tuple[list[StreamChange], list[ConsumerChange]]:
        wanted = _profile(bus, profile)
        changes = await plan_streams(bus, profile=wanted, streams=found.streams)
        return changes, [] if wanted == "minimal" else await plan_consumers(bus, found.consumers)

    changes, durables = as_admin(look, servers)
    _print_changes(changes, durables, as_json=as_json)
    if any(change.action != "unchanged" for change in (*changes, *durables)):
        sys.exit(1)


@app.command("apply")
def apply(
    *,
    checkout: Checkouts = None,
    servers: Servers = None,
    profile: ProfileOption = None,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Allow changes that may delete stored messages.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create and update streams as declared. Sends nothing where nothing differs.

    On a secured bus also the durables that services declare and the dedupe bucket, as services may not create any.

    Example: mts1b streams apply --checkout ../my-service
    """
    found = declared_here(checkout)

    async def act(bus: EventBus) -> tuple[list[StreamChange], list[ConsumerChange]]:
        wanted = _profile(bus, profile)
        streams = found.streams
        plan = await plan_streams(bus, profile=wanted, streams=streams)
        planned = [change.stream for change in plan if change.action != "unchanged"]
        if planned:
            audit_action(bus, "streams apply", actor=user(), streams=planned, allow_destructive=allow_destructive)
        changes = await apply_streams(bus, profile=wanted, streams=streams, allow_destructive=allow_destructive)
        if wanted == "minimal":  # services make their durables and the bucket of handled events themselves
            return changes, []
        await KvDedupe(bus).ensure_bucket()
        return changes, await apply_consumers(bus, found.consumers)

    changes, durables = as_admin(act, servers)
    _print_changes(changes, durables, as_json=as_json)


@app.command("purge")
@with_choices
def purge(
    name: Annotated[str, typer.Argument(help="Name of the stream.")],
    *,
    subject: Annotated[
        str | None, typer.Option(help="Only messages on this subject or pattern.", show_default=False)
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep so many of the newest.", show_default=False)] = None,
    choices: Choices,
) -> None:
    """Delete messages of a stream for good. Shows what would go; needs a reason and the name typed.

    What is stored after it was shown stays. Exit code 1 when nothing was done.

    Example: mts1b streams purge BENCH --reason "left by a measurement" --confirm BENCH
    """
    wanted = declared_here()
    by_hand(lambda bus: hand.look_at_purge(bus, name, wanted, subject=subject, keep=keep), hand.purge, choices)


@app.command("rm")
@with_choices
def rm(
    name: Annotated[str, typer.Argument(help="Name of the stream.")],
    *,
    choices: Choices,
) -> None:
    """Delete a stream with its messages and consumers. Shows what would go; needs a reason and the name typed.

    Refused when something was stored since it was shown. Exit code 1 when nothing was done.

    Example: mts1b streams rm OLD_ORDERS --dry-run
    """
    wanted = declared_here()
    by_hand(lambda bus: hand.look_at_removal(bus, name, wanted), hand.remove, choices)


def _profile(bus: EventBus, asked: str | None) -> Profile:
    return bus.settings.profile if asked is None else type(bus.settings).load(profile=asked).profile


async def _row(bus: EventBus, name: str, wanted: Declared) -> dict[str, Any]:
    held = await stream_config(bus, name)
    state: dict[str, Any] = (await js_api(bus, f"STREAM.INFO.{name}"))["state"] if held else {}
    by = wanted.owner(name)
    return {
        "stream": name,
        "status": "missing" if not held else "ok" if by else "undeclared",
        "declared_by": by,
        "messages": state.get("messages"),
        "bytes": state.get("bytes"),
        "consumers": state.get("consumer_count"),
        "replicas": (held or {}).get("num_replicas"),
        "subjects": (held or {}).get("subjects"),
    }


def _print_changes(changes: Sequence[StreamChange], durables: Sequence[ConsumerChange] = (), *, as_json: bool) -> None:
    if as_json:
        rows = [
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
        print_json([*rows, *map(asdict, durables)])
        return
    for change in changes:
        say(f"{change.action:<10} {change.stream}")
        for field in change.fields:
            say(f"           {field.name}: {field.held} -> {field.wanted}  [{field.risk}: {field.why}]")
    for durable in durables:
        say(f"{durable.action:<10} {durable.stream}, durable {durable.durable} of {durable.service}")
