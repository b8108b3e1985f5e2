"""Starting and stopping the server of one installation, and knowing when it is really there."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import psutil
from mts1b_platform.server.probe import address_in_use, is_healthy, read_info, read_monitor

from mts1b_deploy.errors import PortTaken, PrefixError, StartFailed
from mts1b_deploy.layout import Layout
from mts1b_deploy.leaf.alone import ensure_alone
from mts1b_deploy.leaf.connection import leaf_port
from mts1b_deploy.nodes import QUORUM, Peer
from mts1b_deploy.profiles import LOOPBACK
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.supervise.choose import Supervision, supervision
from mts1b_deploy.supervise.processes import (
    find_server_process,
    find_supervisor_process,
    is_alive,
    listener_on,
)
from mts1b_deploy.supervise.state import read_state

_POLL = 0.02
_TOO_OFTEN = 3
"""A server that ended this often while it was being started will not come up."""

Started = Literal["started", "already running", "supervised again"]
Stopped = Literal["stopped", "killed", "not running"]


def start(layout: Layout, record: InstallRecord, *, timeout: float) -> Started:
    """Start the server supervised and wait until it answers with its streams recovered.

    A server without supervisor gets one and goes on running; there is never a second server.

    Args:
        layout: the prefix.
        record: what is, or is being, installed there.
        timeout: seconds it may take; a large store takes its time to recover.

    Raises:
        PortTaken: something else listens on one of its ports.
        StartFailed: it did not come up; it is stopped again.
        SiteError: another site serves in its place.
    """
    keeper = supervision(record.supervisor)
    found_running = find_server_process(layout) is not None
    if found_running and keeper.is_enabled(layout):
        _wait_until_ready(layout, record, lambda: True, timeout)
        return "already running"
    if not found_running:
        if record.other_sites and not record.mirrors:
            ensure_alone(record)
        try:
            ensure_ports_free(record)
        except PortTaken:
            if find_server_process(layout) is None:
                raise
            return start(layout, record, timeout=timeout)  # its supervisor was faster
    for path in (layout.binary, layout.nats_conf):
        if not path.exists():
            raise StartFailed(f"{path} is missing: run `mts1b-deploy install` again to restore it")
    marks = {path: path.stat().st_size if path.exists() else 0 for path in (layout.nats_log, layout.nats_output)}
    try:
        still_kept = keeper.start(layout)
        _wait_until_ready(layout, record, still_kept, timeout)
    except BaseException as error:
        complaint = _complaint(layout, marks)
        if not found_running:
            stop(layout, record, timeout=min(timeout, 10.0))
        if isinstance(error, StartFailed):
            raise StartFailed(f"{error}. {complaint}") from error
        raise
    return "supervised again" if found_running else "started"


def stop(layout: Layout, record: InstallRecord, *, timeout: float) -> Stopped:
    """End server and supervisor: gracefully, and with SIGKILL after ``timeout`` seconds."""
    keeper = supervision(record.supervisor)
    if not _processes(layout) and not keeper.is_enabled(layout):
        keeper.forget(layout)
        return "not running"
    outcome: Stopped = "stopped"
    try:
        keeper.request_stop(layout)
        if not _wait_until_gone(layout, timeout):
            outcome = "killed"
            # The supervisor first, so that it does not start the server again.
            for find in (find_supervisor_process, find_server_process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if (process := find(layout)) is not None:
                        process.kill()
            _wait_until_gone(layout, 10.0)
    except psutil.AccessDenied as error:
        raise PrefixError(
            f"the server under {layout.prefix} (pid {error.pid}) belongs to another user: stop it as that user"
        ) from error
    keeper.forget(layout)
    return outcome


def ensure_ports_free(record: InstallRecord, *, but: frozenset[int] = frozenset()) -> None:
    """Check that nobody listens where the server is to listen, ``but`` for ports that are known to be ours.

    Raises:
        PortTaken: somebody does; the message says who, as far as this user may know.
    """
    for host, port, option in _addresses(record):
        if port in but:
            continue
        try:
            taken = address_in_use(host, port)
        except PermissionError as error:
            raise PortTaken(f"port {port} may only be used by root: choose one above 1023 with {option}") from error
        if taken:
            raise PortTaken(
                f"port {port} on {host} is taken by {listener_on(port)}: "
                f"stop that, or choose another port with {option}"
            )


def _addresses(record: InstallRecord) -> Iterator[tuple[str, int, str]]:
    yield record.listen_host, record.port, "--port"
    yield LOOPBACK, record.monitor_port, "--monitor-port"
    if record.websocket_port:
        yield record.listen_host, record.websocket_port, "--websocket-port"
    if port := leaf_port(record):
        yield record.host, port, "--leaf-port" if record.leaf_port else "--sites"
    for peer in record.nodes:
        if peer.name == record.node:
            yield record.host, peer.cluster_port, "--peers"


def is_ready(layout: Layout, record: InstallRecord) -> bool:
    """Whether our server, no other, answers and says that it is well.

    A cluster member counts as soon as its own JetStream is up: what it needs the others for comes with them.
    """
    info = read_info(record.probe_host, record.port)
    if info is None or info.server_name != record.server_name(layout):
        return False
    if record.clustered:
        page = read_monitor(LOOPBACK, record.monitor_port, "/healthz?js-enabled-only=true") or {}
        return page.get("status") == "ok"
    return is_healthy(LOOPBACK, record.monitor_port)


def wait_for_peers(record: InstallRecord, timeout: float) -> tuple[str, ...]:
    """Wait until the cluster can store, as far as its nodes can be reached; those that keep it from storing.

    Empty for a server that is no member of a cluster.
    """
    others = {peer.name: peer for peer in record.nodes if peer.name != record.node}
    until = time.monotonic() + timeout
    while others:
        missing = sorted(set(others) - connected_peers(record))
        if len(others) - len(missing) + 1 >= QUORUM:
            if is_healthy(LOOPBACK, record.monitor_port) or time.monotonic() > until:
                break
        elif time.monotonic() > until or not all(_answers(others[name]) for name in missing):
            return tuple(missing)
        time.sleep(_POLL)
    return ()


def connected_peers(record: InstallRecord) -> set[str]:
    """The nodes that this one has a connection to."""
    page = read_monitor(LOOPBACK, record.monitor_port, "/routez") or {}
    return {str(route.get("remote_name")) for route in cast("list[dict[str, Any]]", page.get("routes") or [])}


def _answers(peer: Peer) -> bool:
    try:
        with socket.create_connection((peer.host, peer.cluster_port), timeout=1):
            return True
    except OSError:
        return False


def configured_digest(layout: Layout) -> str | None:
    """What the server calls the configuration on the disk; None when it would refuse it."""
    command = [layout.binary, "-t", "-c", layout.nats_conf]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:  # it is gone, or no program
        return None
    said = (answer.stdout + answer.stderr).strip()
    return said.rpartition("(")[2].rstrip(")") if answer.returncode == 0 else None


def running_digest(record: InstallRecord) -> str | None:
    """What the server calls the configuration that it runs on."""
    return (read_monitor(LOOPBACK, record.monitor_port, "/varz") or {}).get("config_digest")


def reload(layout: Layout, record: InstallRecord, *, timeout: float = 30.0) -> bool:
    """Let the running server read configuration and certificates again; connections stay.

    False when it goes on with the old configuration: some settings need a restart.
    """
    process = find_server_process(layout)
    wanted = configured_digest(layout)
    if process is None or wanted is None:
        return False
    mark = layout.nats_log.stat().st_size if layout.nats_log.exists() else 0
    process.send_signal(signal.SIGHUP)
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        with layout.nats_log.open("rb") as log:
            log.seek(mark)
            said = log.read()
        if b"Failed to reload" in said:
            return False
        if b"Reloaded server configuration" in said:
            return running_digest(record) == wanted
        time.sleep(_POLL)
    return False


def _wait_until_ready(layout: Layout, record: InstallRecord, still_kept: Callable[[], bool], timeout: float) -> None:
    until = time.monotonic() + timeout
    ended_before = _restarts(layout)
    while not is_ready(layout, record):
        if time.monotonic() > until:
            raise StartFailed(
                f"nats-server did not answer on {record.url} within {timeout:g} s (--timeout gives it longer)"
            )
        if not still_kept() and find_supervisor_process(layout) is None:
            raise StartFailed(f"the supervisor of nats-server ended; it writes to {_hint(layout, record)}")
        if _restarts(layout) - ended_before >= _TOO_OFTEN:
            raise StartFailed("nats-server ends as soon as it is started")
        time.sleep(_POLL)


def _restarts(layout: Layout) -> int:
    """How often the living supervisor saw the server end."""
    state = read_state(layout)
    return state.restarts if state is not None and psutil.pid_exists(state.supervisor_pid) else 0


def _hint(layout: Layout, record: InstallRecord) -> str:
    keeper: Supervision = supervision(record.supervisor)
    return keeper.logs_hint(layout)


def _processes(layout: Layout) -> list[psutil.Process]:
    found = (find_supervisor_process(layout), find_server_process(layout))
    return [process for process in found if process is not None]


def _wait_until_gone(layout: Layout, timeout: float) -> bool:
    until = time.monotonic() + timeout
    known = _processes(layout)
    while True:
        known = [process for process in known if is_alive(process)] or _processes(layout)
        if not known:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_POLL)


def _complaint(layout: Layout, marks: dict[Path, int]) -> str:
    """What the server wrote since ``marks`` that tells why it did not come up."""
    lines: list[str] = []
    for path, mark in marks.items():
        with contextlib.suppress(OSError), path.open("rb") as log:
            log.seek(mark)
            lines += [line for line in log.read().decode(errors="replace").splitlines() if "[INF]" not in line]
    unique = list(dict.fromkeys(line.partition(" [")[2] or line for line in lines if line.strip()))
    return f"It wrote: {'; '.join(unique[-5:])}" if unique else f"Its log {layout.nats_log} says nothing more"
