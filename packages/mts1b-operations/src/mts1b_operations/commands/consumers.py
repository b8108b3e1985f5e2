"""The consumers on the server: what each reads, whether it has readers, how far it lags."""

from typing import Annotated

import typer
from mts1b_platform.output import Json, noun, print_listing

from mts1b_operations.commands._bus import Servers, on_bus
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
    columns = ("stream", "consumer", "lag_seconds", "messages", "ack_pending", "pulls_waiting", "filters")
    print_listing(rows, as_json=as_json, columns=columns, empty="no consumers")
