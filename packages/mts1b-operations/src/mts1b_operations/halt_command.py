"""Halts: stop trading of one fund or all, see which services obeyed, resume trading."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import typer
from mts1b_foundation.event import utc_now
from mts1b_platform.command_line import user
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus, ServerUnavailable
from mts1b_platform.output import Json, noun, print_json, print_listing, say
from mts1b_platform.whole_file import write_whole

from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.halt import REPO, Halt, HaltError
from mts1b_operations.people import views

app = noun(__doc__ or "")

OBEYING = ("mts1b-oms",)
"""Services that confirm a halt."""

Actor = Annotated[str | None, typer.Option("--actor", help="Who requests it; otherwise the user of this machine.")]
RequestId = Annotated[
    str | None, typer.Option("--request-id", help="Of a person: goes on with a request that was not answered.")
]
R = TypeVar("R")


@app.command("request")
def request(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Reason, given with every rejected and canceled order.")],
    fund: Annotated[str | None, typer.Option("--fund", help="Halt this fund.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Halt every fund.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=86_400, help="Seconds to wait for the services' obedience.")
    ] = 3.0,
    actor: Actor = None,
    request_id: RequestId = None,
    servers: Servers = None,
) -> None:
    """Stop trading now. The halt holds until it is cleared, also for services that start later.

    Exit code 0 when every service obeyed, 1 when one has not within --wait; the halt is in force all the same.

    Example: mts1b halt request --all --reason "prices look wrong"
    """
    if (fund is None) != every:
        raise HaltError("nothing to halt was named: give either --fund ID or --all")

    async def act(bus: EventBus) -> tuple[Halt, Any]:
        halt, held = await views.halt(bus, fund=fund, reason=reason, actor=_who(actor), request_id=request_id)
        say(f"halt {halt.halt_id} is in force; end it with `mts1b halt clear {halt.halt_id}`")
        if not held:
            say("the order management did not hold: what it accepts until it reads the halt is canceled then")
        return await views.obedience(bus, halt, OBEYING, timeout=timedelta(seconds=wait))

    halt, silent = _on_bus(act, servers)
    for service, (obedience, at) in halt.obeyed.items():
        took = (at - halt.stored_at).total_seconds() * 1000
        say(f"{service} obeyed after {took:.1f} ms and withdrew {obedience.canceled_orders} orders")
    for service in silent:
        say(f"{service} has not obeyed within {wait:g} s: is it running? It will obey when it starts")
    if silent:
        raise typer.Exit(1)


@app.command("clear")
def clear(
    halt_id: Annotated[str, typer.Argument(help="The halt, as `mts1b halt ls` shows it.")],
    *,
    reason: Annotated[
        str, typer.Option("--reason", help="Reason to resume trading; of a person ten letters or more.")
    ] = "cleared by hand",
    fund: Annotated[
        str | None, typer.Option("--fund", help="For a role that may clear halts of this fund only.")
    ] = None,
    actor: Actor = None,
    request_id: RequestId = None,
    servers: Servers = None,
) -> None:
    """Clear a halt, so that trading resumes.

    Example: mts1b halt clear halt-1f9c22ab --reason "prices checked"
    """

    def work(bus: EventBus) -> Awaitable[str]:
        return views.clear(bus, halt_id, reason=reason, actor=_who(actor), fund=fund, request_id=request_id)

    say(_on_bus(work, servers))


@app.command("here")
def here(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Reason, given with every order that is not traded.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="End the stop: adapters on this host trade again.")] = False,
    actor: Actor = None,
) -> None:
    """Stop the adapters of brokers on this host without the bus: within a second they withdraw their orders.

    It works while the bus is dead, holds until it is ended here with --clear, also over restarts, and is told on the
    bus when that is back (`mts1b halt ls`). It is a file, the setting stop_file: `touch` does as well.

    Example: mts1b halt here --reason "the bus is down and prices run away"
    """
    path = Settings.load().stop_file
    if path is None:
        raise HaltError(
            "this host has no stop_file in its mts1b.toml: `mts1b-deploy install` writes one; without it send the "
            "adapters SIGUSR1"
        )
    if clear:
        path.unlink(missing_ok=True)
        say(f"{path} is gone: adapters on this host take orders again")
        return
    if not reason:
        raise HaltError("a stop needs a reason: --reason TEXT")
    said = f"{reason} ({_who(actor)}, {utc_now().isoformat(timespec='seconds')})\n"
    write_whole(path, said.encode(), 0o644)
    say(f"{path} is there: adapters on this host stop within a second; end it with `mts1b halt here --clear`")


@app.command("ls")
def ls(
    *,
    fund: Annotated[str | None, typer.Option("--fund", help="Those that concern this fund.")] = None,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """List the halts in force and who has obeyed them.

    Example: mts1b halt ls --json
    """
    halts = _on_bus(lambda bus: views.halts(bus, fund), servers)
    rows = [
        {
            "halt": halt.request.halt_id,
            "fund": halt.scope if halt.on_host else halt.request.fund_id or "all",
            "since": halt.request.requested_at.isoformat(timespec="seconds"),
            "actor": halt.request.actor,
            "obeyed": ", ".join(sorted(halt.obeyed)) or None,
            "reason": halt.request.reason,
        }
        for halt in halts
    ]
    if as_json:
        print_json(rows)
    else:
        print_listing(rows, as_json=False, empty="no halt is in force")


def _on_bus(act: Callable[[EventBus], Awaitable[R]], servers: str | None) -> R:
    try:
        return on_bus(act, servers, service=REPO, watched=False)  # what the audit log is told, `halt` says itself
    except ServerUnavailable as error:
        raise HaltError(
            f"{error}. Without the bus, stop each broker's adapter on its host: `mts1b halt here --reason TEXT`"
        ) from error


def _who(actor: str | None) -> str:
    return actor or user() or REPO
