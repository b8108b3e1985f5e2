"""Alerts: which are in force, and who looks after them."""

from collections.abc import Awaitable
from typing import Annotated

import typer
from mts1b_platform.command_line import user
from mts1b_platform.eventbus import EventBus
from mts1b_platform.output import Json, noun, print_json, print_listing, say

from mts1b_operations.commands._bus import REPO, Servers, on_bus
from mts1b_operations.people import views

app = noun(__doc__ or "")


@app.command("ls")
def ls(*, servers: Servers = None, as_json: Json = False) -> None:
    """List the alerts in force, oldest first.

    Example: mts1b alerts ls --json
    """
    found = on_bus(views.alerts, servers, service=REPO)
    if as_json:
        print_json([each.to_json() for each in found])
        return
    rows = [
        {
            "alert": each.alert.alert_id,
            "severity": each.alert.severity.value,
            "since": each.alert.raised_at.isoformat(timespec="seconds"),
            "target": each.alert.target,
            "acknowledged": each.acknowledged and each.acknowledged.actor,
            "summary": each.alert.summary,
        }
        for each in found
    ]
    print_listing(rows, as_json=False, empty="no alert is in force")


@app.command("acknowledge")
def acknowledge(
    alert_id: Annotated[str, typer.Argument(help="The alert, as `mts1b alerts ls` shows it.")],
    *,
    note: Annotated[str, typer.Option("--note", help="What is known or being done.")] = "",
    actor: Annotated[
        str | None, typer.Option("--actor", help="Who looks after it; otherwise the user of this machine.")
    ] = None,
    servers: Servers = None,
) -> None:
    """Say that you look after an alert. It holds until the alert is over or raised with another severity.

    Example: mts1b alerts acknowledge slow_consumer-1f0c --note "treasury is being restarted"
    """

    def work(bus: EventBus) -> Awaitable[str]:
        return views.acknowledge_alert(bus, alert_id, note=note, actor=actor or user() or REPO)

    say(on_bus(work, servers, service=REPO, watched=False))  # what the audit log is told, it says itself
