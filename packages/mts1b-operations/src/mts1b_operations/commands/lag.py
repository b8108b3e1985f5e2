"""Lag of consumers: the age of the oldest unacknowledged message, in seconds."""

from typing import Annotated, Any

import typer
from mts1b_platform.output import Json, noun, print_listing

from mts1b_operations.commands._bus import Servers, on_bus
from mts1b_operations.lag import ConsumerLag
from mts1b_operations.people.views import lags

app = noun(__doc__ or "", verbs=False)


@app.command()
def lag(
    *,
    stream: Annotated[str | None, typer.Option(help="Consumers of this stream only.")] = None,
    behind: Annotated[float, typer.Option(help="Only consumers that lag at least so many seconds.")] = 0.0,
    servers: Servers = None,
    as_json: Json = False,
) -> None:
    """List every consumer on the server with its lag, the worst first.

    Example: mts1b lag --behind 5
    """
    found = on_bus(lambda bus: lags(bus, stream=stream), servers)
    worst = sorted((one for one in found if one.seconds >= behind), key=lambda one: -one.seconds)
    print_listing([_row(one) for one in worst], as_json=as_json, empty="no consumer lags that much")


def _row(lag: ConsumerLag) -> dict[str, Any]:
    return {
        "stream": lag.stream,
        "consumer": lag.consumer,
        "service": lag.service or None,
        "reading": lag.reading,
        "lag_seconds": round(lag.seconds, 3),
        "messages": lag.messages,
        "oldest_seq": lag.oldest_seq,
        "oldest_subject": lag.oldest_subject,
    }
