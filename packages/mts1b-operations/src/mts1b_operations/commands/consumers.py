"""The consumers on the server: what each reads, whether it has readers, how far it lags; and changing one by hand."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from mts1b_platform.by_hand import Choices, by_hand, with_choices
from mts1b_platform.command_line import duration
from mts1b_platform.eventbus import EventBus
from mts1b_platform.output import Json, noun, print_json, print_listing, say

from mts1b_operations import consumers_by_hand as hand
from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.lag import lag_of
from mts1b_operations.people.views import lags

app = noun(__doc__ or "")


@app.command("ls")
def ls(
    *,
    stream: Annotated[str | None, typer.Option(help="Consumers of this stream only.")] = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """List every consumer on the server.

    Example: mts1b consumers ls --stream OMS_ORDERS
    """
    rows = [
        {
            "stream": lag.stream,
            "consumer": lag.consumer,
            "service": lag.service or None,
            "reading": lag.reading,
            "lag_seconds": round(lag.seconds, 3),
            "messages": lag.messages,
            "ack_pending": lag.ack_pending,
            "redelivered": lag.redelivered,
            "pulls_waiting": lag.waiting,
            "durable": lag.durable,
            "paused": lag.paused,
            "filters": lag.filters,
        }
        for lag in on_bus(lambda bus: lags(bus, stream=stream), servers)
    ]
    columns = ("stream", "consumer", "service", "reading", "lag_seconds", "messages", "ack_pending", "redelivered")
    print_listing(rows, as_json=as_json, columns=columns, empty="no consumers")


Stream = Annotated[str, typer.Argument(help="Name of the stream.")]
Name = Annotated[str, typer.Argument(help="Name of the consumer on it.")]


@app.command("show")
def show(stream: Stream, name: Name, *, servers: Servers = None, as_json: Json = False) -> None:
    """Show one consumer: who declares it, what it reads, where it is, what waits.

    Example: mts1b consumers show OMS_ORDERS risk
    """

    async def look(bus: EventBus) -> dict[str, Any]:
        info = await hand.consumer_info(bus, stream, name)
        lag = await lag_of(bus, info)
        config = info["config"]
        return {
            "stream": stream,
            "consumer": name,
            "declared_for": hand.declarer(stream, name),
            "filters": list(lag.filters) if as_json else ", ".join(lag.filters),
            "created": info["created"],
            "delivered_seq": info["delivered"]["stream_seq"],
            "ack_floor_seq": info["ack_floor"]["stream_seq"],
            "not_delivered": info["num_pending"],
            "handed_out": info["num_ack_pending"],
            "redelivered": info["num_redelivered"],
            "pulls_waiting": info["num_waiting"],
            "lag_seconds": round(lag.seconds, 3),
            "oldest_seq": lag.oldest_seq,
            "oldest_subject": lag.oldest_subject,
            "paused_until": config.get("pause_until") if info.get("paused") else None,
            "deliver": config.get("deliver_policy"),
            "ack_wait_seconds": config.get("ack_wait", 0) / 1e9,
            "max_ack_pending": config.get("max_ack_pending"),
        }

    facts = on_bus(look, servers)
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        say(f"{key.replace('_', ' '):17}  {'-' if value in (None, '') else value}")


@app.command("rm")
@with_choices
def rm(
    stream: Stream,
    name: Name,
    *,
    choices: Choices,
) -> None:
    """Delete a consumer with what it has read. Shows what that means; needs a reason and the name typed.

    Example: mts1b consumers rm OMS_ORDERS old-risk --reason "replaced by risk" --confirm OMS_ORDERS/old-risk
    """
    by_hand(lambda bus: hand.look_at_removal(bus, stream, name), hand.remove, choices)


@app.command("reset")
@with_choices
def reset(
    stream: Stream,
    name: Name,
    *,
    to: Annotated[str, typer.Option(help="Where it goes on: first, next, a sequence, or a time with its zone.")],
    choices: Choices,
) -> None:
    """Move a consumer that nobody reads with now, backwards or forwards. Shows what that means, as `rm` does.

    Example: mts1b consumers reset OMS_FILLS books --to 2026-11-29T03:00:00Z --dry-run
    """
    start = _start(to)
    by_hand(lambda bus: hand.look_at_reset(bus, stream, name, start), hand.reset, choices)


@app.command("pause")
@with_choices
def pause(
    stream: Stream,
    name: Name,
    *,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30s, 10m, 2h, 1d.")],
    choices: Choices,
) -> None:
    """Have a consumer deliver nothing for a while; its lag grows. Shows what that means, as `rm` does.

    Example: mts1b consumers pause OMS_FILLS books --for 10m --reason "database moves" --confirm OMS_FILLS/books
    """
    until = datetime.now(UTC) + _duration(for_)
    by_hand(lambda bus: hand.look_at_pause(bus, stream, name, until), hand.pause, choices)


@app.command("resume")
@with_choices
def resume(
    stream: Stream,
    name: Name,
    *,
    choices: Choices,
) -> None:
    """Have a paused consumer deliver again.

    Example: mts1b consumers resume OMS_FILLS books --reason "database is back" --confirm OMS_FILLS/books
    """
    by_hand(lambda bus: hand.look_at_resume(bus, stream, name), hand.pause, choices)


def _start(text: str) -> hand.Start:
    if text == "first" or text == "next":
        return text
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r}: write first, next, a sequence, or a time with its zone such as 2026-11-29T03:00:00Z"
        )
    return moment


def _duration(text: str) -> timedelta:
    found = duration(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time: write a number and s, m, h or d, such as 10m")
    return found
