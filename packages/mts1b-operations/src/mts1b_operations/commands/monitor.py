"""The monitor: watch the server, raise alerts, serve what it sees as metrics."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer
from mts1b_platform.config import find_config
from mts1b_platform.eventbus import connect
from mts1b_platform.logs import configure_logging
from mts1b_platform.observability import observe
from mts1b_platform.output import noun, print_json

from mts1b_operations.commands._bus import Servers
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.service import Monitor
from mts1b_operations.monitor.settings import MonitorSettings

app = noun(__doc__ or "")

SERVICE = "mts1b-operations"

Config = Annotated[Path | None, typer.Option("--config", help="A configuration file in place of the one found.")]


@app.command("run")
def run(*, config: Config = None, servers: Servers = None) -> None:
    """Watch until SIGTERM or Ctrl-C. Metrics are served when MTS1B_METRICS_PORT is set.

    Example: MTS1B_METRICS_PORT=9464 mts1b monitor run
    """
    configure_logging()
    settings = MonitorSettings.read(find_config(config))
    asyncio.run(_run(settings, config, servers))


@app.command("settings")
def settings(*, config: Config = None) -> None:
    """Print the settings in force, thresholds included, as JSON.

    Example: mts1b monitor settings
    """
    found = MonitorSettings.read(find_config(config))
    thresholds = {watch.value: found.threshold(watch).model_dump() for watch in Watch}
    print_json({**found.model_dump(mode="json"), "thresholds": thresholds})


async def _run(settings: MonitorSettings, config: Path | None, servers: str | None) -> None:
    async with await connect(servers, service=SERVICE, config=config) as bus, observe(bus) as observed:
        monitor = Monitor(bus, settings)
        observed.registry.register(monitor.gauges)
        watching = asyncio.ensure_future(monitor.run())
        for ending in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(ending, watching.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await watching
