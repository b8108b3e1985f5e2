"""What happened in a trace: from the quote to the net asset value, who has handled each event, and what is missing."""

from typing import Annotated

import typer
from mts1b_foundation.subjects.flows import TRACE
from mts1b_platform.output import Json, noun

from mts1b_operations.commands._bus import Servers
from mts1b_operations.commands._events_options import From
from mts1b_operations.commands._telling import told
from mts1b_operations.commands.order import Within
from mts1b_operations.story.names import Name

app = noun(__doc__ or "", verbs=False)


@app.command()
def trace(
    trace_id: Annotated[str, typer.Argument(help="The trace's id: the header mts-trace-id of any of its events.")],
    *,
    since: From = None,
    within: Within = 10.0,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """Tell what happened in a trace, and what should have happened by now.

    Exit codes: 0 nothing is late, 1 no such trace, 3 something is missing for too long.

    Example: mts1b trace 5f0c2d6e8a9b4c1d9e0f1a2b3c4d5e6f
    """
    told(Name(TRACE, trace_id), since=since, within=within, servers=servers, as_json=as_json)
