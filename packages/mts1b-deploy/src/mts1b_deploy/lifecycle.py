"""Starting and stopping the server of one installation, and knowing when it is really there."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
from mts1b_platform.server_probe import address_in_use, is_healthy, read_info

from mts1b_deploy.errors import PortTaken, PrefixError, StartFailed
from mts1b_deploy.layout import Layout
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
    """
    keeper = supervision(record.supervisor)
    found_running = find_server_process(layout) is not None
    if found_running and keeper.is_enabled(layout):
        _wait_until_ready(layout, record, lambda: True, timeout)
        return "already running"
    if not found_running:
        ensure_ports_free(record)
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
    for port, option in ((record.port, "--port"), (record.monitor_port, "--monitor-port")):
        if port in but:
            continue
        try:
            taken = address_in_use(record.host, port)
        except PermissionError as error:
            raise PortTaken(f"port {port} may only be used by root: choose one above 1023 with {option}") from error
        if taken:
            raise PortTaken(
                f"port {port} on {record.host} is taken by {listener_on(port)}: "
                f"stop that, or choose another port with {option}"
            )


def is_ready(layout: Layout, record: InstallRecord) -> bool:
    """Whether our server, no other, answers and says that it is well."""
    info = read_info(record.host, record.port)
    return info is not None and info.server_name == layout.server_name and is_healthy(record.host, record.monitor_port)


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
