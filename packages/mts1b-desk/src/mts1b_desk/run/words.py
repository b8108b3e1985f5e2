"""What a run says of itself before it begins and when it is over."""

import os
from typing import TYPE_CHECKING

from mts1b_desk.settings import DeskSettings, Durability, HeardSettings, ReplaySettings, SimulationSettings

if TYPE_CHECKING:
    from mts1b_desk.data.summary import Summary


def source_of(settings: DeskSettings) -> str:
    """The market of a run, in words."""
    source = settings.source
    if isinstance(source, ReplaySettings):
        return f"replay of {source.path.name}"
    if isinstance(source, HeardSettings):
        return "quotes that are replayed on the bus"
    return f"SIMULATED market, seed {source.seed}"


def title_of(settings: DeskSettings, summary: "Summary | None") -> str:
    """A run in a line."""
    if isinstance(settings.source, HeardSettings):
        return f"Desk {settings.session}: waits for its quotes; publish them with `mts1b events replay`"
    pace = "full speed" if settings.speed is None else f"{settings.speed:g}x"
    if summary is None:
        made = " (no real prices)" if isinstance(settings.source, SimulationSettings) else ""
        return f"Desk {settings.session}: {source_of(settings)}{made}, {pace}"
    path = settings.source.path if isinstance(settings.source, ReplaySettings) else ""
    return (
        f"Desk {settings.session}: {summary.ticks} {summary.kind} of {summary.symbols_in_short()} from {path}, "
        f"{summary.span}, {pace}"
    )


def next_steps(settings: DeskSettings) -> str:
    """What the services reported, and what to try next: as targets of make when make has started the run."""
    if settings.durability is Durability.RELAXED:
        return "\nNothing of this run was kept; `--report report.html` writes down what it did."
    by_make = "MAKELEVEL" in os.environ
    steps = {
        "make run DATA=quotes.parquet" if by_make else "mts1b-desk run --data quotes.parquet": (
            "replay a file of your own at full speed"
        ),
        "make run ARGS='--state var/desk'" if by_make else "mts1b-desk run --state desk": (
            "the same, with state that outlives it"
        ),
        "mts1b console serve": "every order and event of it in a browser",
        "mts1b streams ls": "where those events are stored (mts1b lag: who reads them)",
        "mts1b-desk ledger": "the books of a desk that runs (from another terminal)",
        "make stop" if by_make else "mts1b-deploy stop": "stop the NATS server",
    }
    shown = [f"  {do:<40}  {what}" for do, what in steps.items() if not (settings.kept and "--state" in do)]
    return (
        "\nWhat you saw: quotes became bars, signals, orders that risk let through, fills and a NAV, each an event on "
        "the bus.\nTry next:\n" + "\n".join(shown)
    )
