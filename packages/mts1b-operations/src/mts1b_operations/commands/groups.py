"""Readers with several instances: who is active, since when, of which keys; and having another take over."""

from typing import Annotated, Any

import typer
from mts1b_platform.by_hand import Choices, by_hand, with_choices
from mts1b_platform.eventbus import EventBus
from mts1b_platform.output import Json, noun, print_json, print_listing, print_table, say

from mts1b_operations import groups
from mts1b_operations.commands._bus import Servers, on_bus

app = noun(__doc__ or "")

Stream = Annotated[str, typer.Argument(help="Name of the stream.")]
_COLUMNS = ("stream", "group", "key", "active", "since", "term", "lag_seconds", "messages", "pulls_waiting")


@app.command("ls")
def ls(
    *,
    stream: Annotated[str | None, typer.Option(help="Readers of this stream only.")] = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """List every durable that several instances read, and which of them is active.

    Example: mts1b groups ls --stream OMS_ORDERS
    """
    found = on_bus(lambda bus: groups.offices(bus, stream=stream), servers)
    print_listing(
        [_row(each) for each in found], as_json=as_json, columns=_COLUMNS, empty="no readers with several instances"
    )


@app.command("show")
def show(
    stream: Stream,
    name: Annotated[str, typer.Argument(help="Name of the group, or of one of its durables.")],
    *,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Show one reader: who is active for each of its keys, and what no declared key reads.

    Ends with exit code 1 when the stream holds something that no declared key reads.

    Example: mts1b groups show OMS_FILLS books
    """

    async def look(bus: EventBus) -> tuple[list[groups.Office], list[groups.Unread]]:
        found = await groups.group_of(bus, stream, name)
        return found, await groups.unread(bus, stream, found[0].group)

    found, unread = on_bus(look, servers)
    rows = [_row(each) for each in found]
    missed = [{"subject": each.subject, "key": each.key, "messages": each.messages} for each in unread]
    if as_json:
        print_json({"stream": stream, "group": found[0].group, "durables": rows, "unread": missed})
    else:
        print_table([{column: row[column] for column in _COLUMNS[1:]} for row in rows])
        if missed:
            say("")
            say("no declared key reads these; add their keys to `shares(…)` and run `mts1b streams apply`:")
            print_table(missed)
    if missed:
        raise typer.Exit(1)


@app.command("move")
@with_choices
def move(
    stream: Stream,
    name: Annotated[str, typer.Argument(help="Name of the durable on it.")],
    *,
    choices: Choices,
) -> None:
    """Have another instance take over from the active one. Shows what that means; needs a reason and the name typed.

    Example: mts1b groups move OMS_ORDERS books --reason "host is rebooted" --confirm OMS_ORDERS/books
    """
    by_hand(lambda bus: groups.look_at_move(bus, stream, name), groups.move, choices)


def _row(office: groups.Office) -> dict[str, Any]:
    return {
        "stream": office.stream,
        "group": office.group,
        "key": office.key or None,
        "durable": office.durable,
        "active": office.active if office.pinned else None,
        "since": office.since,
        "term": office.term or None,
        "last_active": office.active,
        "takeover_seconds": office.takeover,
        "lag_seconds": round(office.lag.seconds, 3),
        "messages": office.lag.messages,
        "pulls_waiting": office.lag.waiting,
    }
