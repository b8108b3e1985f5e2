"""What happened to an order: its events over all streams, who has handled each, what is missing and who owes it."""

from typing import Annotated

import typer
from mts1b_platform.output import Json, noun

from mts1b_operations.commands._bus import Servers
from mts1b_operations.commands._events_options import From
from mts1b_operations.commands._telling import told
from mts1b_operations.story.names import ORDER, Name

app = noun(__doc__ or "", verbs=False)

Within = Annotated[float, typer.Option(min=0, help="Seconds that searching takes at most.")]


@app.command()
def order(
    order_id: Annotated[str, typer.Argument(help="The order's id.")],
    *,
    since: From = None,
    within: Within = 10.0,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Tell what happened to an order, and what should have happened by now.

    The missing step comes first: what it is, since when, who owes it, how far that reader is and how long it usually
    takes, and what to do. Then every event about the order, the broker's included, and of each which durables have
    handled it.

    Exit codes: 0 nothing is late, 1 no such order, 3 something is missing for too long.

    Example: mts1b order 186ab989.ma_cross.BTC=2FUSD.2.alpha
    """
    told(Name(ORDER, order_id), since=since, within=within, servers=servers, as_json=as_json)
