"""What is installed and how it is: gathered from processes and from the server's own monitoring."""

import time
from typing import Any, cast

import psutil
from mts1b_platform.server.probe import read_info, read_monitor
from pydantic import BaseModel

from mts1b_deploy.layout import Layout
from mts1b_deploy.profiles import LOOPBACK, PROFILES
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.supervise.choose import supervision
from mts1b_deploy.supervise.processes import find_server_process
from mts1b_deploy.supervise.state import read_state


class StreamStatus(BaseModel):
    """One stream as the server counts it."""

    name: str
    messages: int
    bytes: int
    consumers: int


class Status(BaseModel):
    """The answer of ``mts1b-deploy status``; ``--json`` prints exactly this."""

    profile: str
    prefix: str
    running: bool
    supervised: bool
    healthy: bool
    supervisor: str
    pid: int | None
    uptime_seconds: float | None
    version: str | None
    """Of the running server; of the installed one when it does not run."""
    url: str
    monitor: str
    jetstream: bool
    store_dir: str
    streams: list[StreamStatus]
    restarts: int
    """How often the detached supervisor had to start the server again; systemd counts for itself."""
    problems: list[str]
    warnings: list[str]

    @property
    def exit_code(self) -> int:
        """0 as it should be, 1 running with problems, 3 not running."""
        if not self.running:
            return 3
        return 1 if self.problems else 0


def status(layout: Layout, record: InstallRecord) -> Status:
    """Ask everything that can be asked without changing anything; never waits longer than a few seconds."""
    process = find_server_process(layout)
    info = read_info(record.probe_host, record.port) if process else None
    if info is not None and info.server_name != record.server_name(layout):
        info = None
    health = read_monitor(LOOPBACK, record.monitor_port, "/healthz") if info else None
    healthy = health is not None and health.get("status") == "ok"
    supervised = supervision(record.supervisor).is_enabled(layout)
    state = read_state(layout) if supervised and record.supervisor == "detached" else None
    profile = PROFILES.get(record.profile)
    return Status(
        profile=record.profile,
        prefix=str(layout.prefix),
        running=process is not None,
        supervised=supervised,
        healthy=healthy,
        supervisor=record.supervisor,
        pid=process.pid if process else None,
        uptime_seconds=_uptime(process),
        version=info.version if info else record.server_version,
        url=record.url,
        monitor=record.monitor,
        jetstream=info.jetstream if info else False,
        store_dir=str(layout.store),
        streams=_streams(record) if healthy else [],
        restarts=state.restarts if state else 0,
        problems=_problems(process, health, answers=info is not None, healthy=healthy, supervised=supervised),
        warnings=list(profile.warnings) if profile else [],
    )


def _problems(
    process: psutil.Process | None, health: dict[str, Any] | None, *, answers: bool, healthy: bool, supervised: bool
) -> list[str]:
    found: list[str] = []
    if process is None:
        if supervised:
            found.append("the server ended and is being started again: `mts1b-deploy logs` tells why")
        return found
    if not supervised:
        found.append("nobody supervises the server, it will not be started again: run `mts1b-deploy start`")
    if not answers:
        found.append(f"the server (pid {process.pid}) does not answer: `mts1b-deploy restart` ends it in any case")
    elif not healthy:
        said = (health or {}).get("error", "the monitoring endpoint does not answer")
        found.append(f"the server says that it is not well: {said}")
    return found


def _uptime(process: psutil.Process | None) -> float | None:
    if process is None:
        return None
    try:
        return round(max(0.0, time.time() - process.create_time()), 1)
    except psutil.NoSuchProcess:
        return None


def _streams(record: InstallRecord) -> list[StreamStatus]:
    page = read_monitor(LOOPBACK, record.monitor_port, "/jsz?accounts=true&streams=true&limit=1000") or {}
    found: list[StreamStatus] = []
    for account in cast("list[dict[str, Any]]", page.get("account_details") or []):
        for stream in cast("list[dict[str, Any]]", account.get("stream_detail") or []):
            state = cast("dict[str, int]", stream.get("state") or {})
            found.append(
                StreamStatus(
                    name=str(stream.get("name")),
                    messages=state.get("messages", 0),
                    bytes=state.get("bytes", 0),
                    consumers=state.get("consumer_count", 0),
                )
            )
    return sorted(found, key=lambda stream: stream.name)
