"""Measure a server in about a minute: rates, latency and CPU of typed events, and nothing left behind."""

import asyncio
import signal
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mts1b_platform.commands._bench_parts import Figures
from mts1b_platform.commands._bench_run import Outcome, run
from mts1b_platform.output import Json, print_json, print_table, say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def bench(
    *,
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure, about.")] = 60.0,
    url: Annotated[
        str | None, typer.Option("--url", "--servers", help="NATS URLs to measure; otherwise as configured.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a server in about a minute: rates, latency and CPU of typed events, and nothing left behind.

    Quotes are published and read on subjects and a stream of its own, which is deleted at the end, also after Ctrl-C.
    Where this identity may create no stream, only core NATS is measured, and that is said.

    Whoever listens to everything (mts.>) hears the events. Publisher and reader share this process: CPU is that of
    both ends. Progress goes to standard error. Exit code 0 when measured, 1 when not, 130 after Ctrl-C.

    Example: mts1b bench --seconds 20 --url nats://127.0.0.1:4222 --json
    """
    try:
        outcome = asyncio.run(_until_stopped(url, seconds))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("mts1b: stopped; the stream of the measurement was deleted\n")
        sys.exit(130)
    if as_json:
        print_json(_document(outcome, seconds))
    else:
        _print(outcome)


async def _until_stopped(url: str | None, seconds: float) -> Outcome:
    """Run; SIGTERM ends it as Ctrl-C does, so that the stream is deleted then too."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(url, seconds)


def _document(outcome: Outcome, seconds: float) -> dict[str, Any]:
    return {
        "server": outcome.server,
        "seconds": seconds,
        "results": [asdict(figures) for figures in outcome.figures],
        "not_measured": outcome.skipped,
    }


def _print(outcome: Outcome) -> None:
    server = outcome.server
    say(f"{server['url']}, nats-server {server['version']}, profile {server['profile']}")
    say()
    print_table([_row(figures) for figures in outcome.figures])
    for reason in outcome.skipped:
        say()
        say(f"not measured: {reason}")


def _row(figures: Figures) -> dict[str, str | None]:
    return {
        "measure": figures.measure,
        "events": f"{figures.events:,}",
        "events/s": _text(figures.per_second, ",.0f"),
        "cpu us": _text(figures.cpu_us, ".1f"),
        "p50 ms": _text(figures.p50_ms, ".3f"),
        "p99 ms": _text(figures.p99_ms, ".3f"),
        "p99.9 ms": _text(figures.p999_ms, ".3f"),
    }


def _text(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)
