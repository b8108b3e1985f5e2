"""Answer what people look up, over their own connections."""

import asyncio
from typing import Annotated

import typer
from mts1b_platform.logs import configure_logging
from mts1b_platform.output import noun, print_json, say

from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.people.asked import Scope
from mts1b_operations.people.asking import look
from mts1b_operations.people.serve import looking, until_told

app = noun(__doc__ or "")


@app.command("serve")
def serve(*, servers: Servers = None) -> None:
    """Answer looks until SIGTERM or Ctrl-C. Two share the work. It reads, and changes nothing.

    Example: mts1b look serve
    """
    configure_logging()
    asyncio.run(until_told(looking, say, servers=servers))


@app.command("at")
def at(
    what: Annotated[str, typer.Argument(help="consumers, survey, halts, deadletters, alerts, audit.")],
    *,
    fund: Annotated[str | None, typer.Option("--fund", help="Of this fund only.")] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="NAME=VALUE", help="Narrow it; may be repeated.")
    ] = None,
    servers: Servers = None,
) -> None:
    """Look something up as the person who is logged in; prints JSON.

    Examples: mts1b look at halts --fund alpha

    mts1b look at audit --by halt_id=halt-1f9c22ab
    """
    wanted: dict[str, str] = {}
    for each in by or ():
        name, equals, value = each.partition("=")
        if not equals:
            raise typer.BadParameter(f"--by {each!r}: write NAME=VALUE")
        wanted[name] = value
    print_json(on_bus(lambda bus: look(bus, what, Scope(fund), **wanted), servers))
