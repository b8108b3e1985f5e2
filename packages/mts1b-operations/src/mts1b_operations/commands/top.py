"""Watch streams and consumers as they move: rates and lag, refreshed until Ctrl-C."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.output import noun
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mts1b_operations.commands._bus import Servers, who
from mts1b_operations.lag import ConsumerLag
from mts1b_operations.monitor.survey import Survey
from mts1b_operations.people.views import whole

app = noun(__doc__ or "", verbs=False)

_SLOW = 30.0
_LATE = 5.0


@app.command()
def top(
    *,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two refreshes.")] = 1.0,
    looks: Annotated[int | None, typer.Option(min=1, help="End after this many refreshes.")] = None,
    servers: Servers = None,
) -> None:
    """Show streams with their rates, and consumers with their lag, the worst first.

    Example: mts1b top --interval 2
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_top(interval, looks, servers))


async def _top(interval: float, looks: int | None, servers: str | None) -> None:
    console = Console()
    async with await connect(servers, **who()) as bus:
        with Live(console=console, screen=console.is_terminal and looks is None, auto_refresh=False) as live:
            before: dict[str, int] = {}
            began = time.monotonic()
            number = 0
            while True:
                view, before, began = await _view(bus, before, began)
                live.update(view, refresh=True)
                number += 1
                if number == looks:
                    return
                await asyncio.sleep(interval)


async def _view(bus: EventBus, before: dict[str, int], began: float) -> tuple[Group, dict[str, int], float]:
    """What to show, and the values that the next refresh is compared with. A failed refresh is shown as such."""
    try:
        seen = await whole(bus)
    except Mts1bError as error:
        return Group(Text(str(error), style="bold red")), before, began
    now = time.monotonic()
    last = {name: int(info["state"]["last_seq"]) for name, info in seen.streams.items()}
    rates = {name: (seq - before[name]) / (now - began) for name, seq in last.items() if name in before}
    return Group(_streams(seen, rates), _consumers(seen.lags)), last, now


def _streams(seen: Survey, rates: dict[str, float]) -> Table:
    table = Table("stream", title="streams", title_justify="left", box=None, header_style="bold")
    for name in ("messages", "bytes", "stored/s", "consumers"):
        table.add_column(name, justify="right")
    for name, info in sorted(seen.streams.items()):
        state = info["state"]
        rate = f"{rates[name]:,.1f}" if name in rates else "-"
        table.add_row(name, f"{state['messages']:,}", f"{state['bytes']:,}", rate, str(state["consumer_count"]))
    return table


def _consumers(lags: Sequence[ConsumerLag]) -> Table:
    table = Table("stream", "consumer", title="consumers", title_justify="left", box=None, header_style="bold")
    for name in ("lag", "waiting", "unacked", "again", "readers"):
        table.add_column(name, justify="right")
    for lag in sorted(lags, key=lambda lag: (-lag.seconds, lag.stream, lag.consumer)):
        style = "bold red" if lag.seconds > _SLOW else "yellow" if lag.seconds > _LATE else ""
        cells = (f"{lag.seconds:,.1f} s", f"{lag.messages:,}", f"{lag.ack_pending:,}", f"{lag.redelivered:,}")
        table.add_row(lag.stream, lag.consumer, *cells, str(lag.waiting), style=style)
    return table
