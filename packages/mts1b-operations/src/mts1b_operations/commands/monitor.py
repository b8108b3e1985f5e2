"""The monitor: watch the server, raise alerts, page people, serve what it sees as metrics."""

import asyncio
import contextlib
import secrets
import signal
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any

import typer
from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import Alert, AlertSeverity
from mts1b_platform.config import find_config
from mts1b_platform.eventbus import connect
from mts1b_platform.logs import configure_logging
from mts1b_platform.observability import observe
from mts1b_platform.output import Json, noun, print_json, print_listing
from mts1b_platform.service.findable import be_found

from mts1b_operations.commands._bus import Servers
from mts1b_operations.monitor.heartbeat import Heartbeat
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.service import Monitor, outside
from mts1b_operations.monitor.settings import MonitorConfigError, MonitorSettings
from mts1b_operations.monitor.sinks import Pager, Sink, SinkError

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


@app.command("test")
def try_sinks(*, config: Config = None, as_json: Json = False) -> None:
    """Send a test alert to everybody whom the settings name, and a sign of life; nothing else is touched.

    Exit code 1 when somebody could not be told, or nobody is named.

    Example: mts1b monitor test
    """
    alert = _alert("test", "This is a test of who is told. Nothing is wrong.")
    _tell_everybody(config, alert, as_json=as_json, beat=True)


@app.command("page")
def page(
    text: Annotated[str, typer.Argument(help="What is wrong, in one line.")],
    *,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Tell everybody whom the settings name that something is wrong, without the bus: for scripts and timers.

    Exit code 1 when somebody could not be told, or nobody is named.

    Example: mts1b monitor page "the backup failed"
    """
    _tell_everybody(config, _alert("page", text), as_json=as_json, beat=False)


def _tell_everybody(config: Path | None, alert: Alert, *, as_json: bool, beat: bool) -> None:
    found = MonitorSettings.read(find_config(config))
    if not (ways := _ways(found, beat=beat)):
        raise MonitorConfigError(
            "nobody is told of an alert: name somebody in [[monitoring.pagers]] of mts1b.toml; docs/observability.md "
            "has examples"
        )
    rows = asyncio.run(_tell(ways, alert))
    print_listing(rows, as_json=as_json)
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def _alert(name: str, text: str) -> Alert:
    return Alert(
        alert_id=f"{name}-{secrets.token_hex(6)}",
        name=name,
        target=gethostname(),
        severity=AlertSeverity.CRITICAL,
        value=1,
        threshold=0,
        unit="",
        summary=text,
        raised_at=utc_now(),
    )


def _ways(found: MonitorSettings, *, beat: bool) -> list[tuple[str, Sink | Heartbeat]]:
    ways: list[tuple[str, Sink | Heartbeat]] = [
        (sink.channel.name if isinstance(sink, Pager) else type(sink).__name__, sink)
        for sink in outside(found, once=True)
    ]
    if beat and found.heartbeat is not None:
        ways.append(("heartbeat", Heartbeat(found.heartbeat, found.heartbeat_every)))
    return ways


async def _tell(ways: list[tuple[str, Sink | Heartbeat]], alert: Alert) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, way in ways:
        error = None
        try:
            await (way.send() if isinstance(way, Heartbeat) else way.tell([alert], []))
        except SinkError as problem:
            error = str(problem)
        rows.append({"told": name, "error": error})
    return rows


async def _run(settings: MonitorSettings, config: Path | None, servers: str | None) -> None:
    async with await connect(servers, service=SERVICE, config=config) as bus, observe(bus) as observed:
        await be_found(bus, metadata={"command": "mts1b monitor run"})
        monitor = Monitor(bus, settings)
        observed.registry.register(monitor.gauges)
        watching = asyncio.ensure_future(monitor.run())
        for ending in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(ending, watching.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await watching
