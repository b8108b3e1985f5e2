"""Which processes are ours. A pid file only says where to look; the command line decides.

A pid that was reused by another program has another command line, so a stale pid file never makes us signal a
stranger; and a server whose pid file was lost is still found.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from mts1b_deploy.layout import Layout

SUPERVISOR_MODULE = "mts1b_deploy.supervise.supervisor"


def supervisor_command(layout: Layout) -> list[str]:
    """How the detached supervisor of this prefix is started."""
    return [sys.executable, "-P", "-m", SUPERVISOR_MODULE, str(layout.prefix)]


def find_server_process(layout: Layout) -> psutil.Process | None:
    """The nats-server of this prefix, if it runs."""
    return _from_pid_file(layout.nats_pid, layout.server_command) or next(_with_command(layout.server_command), None)


def find_supervisor_process(layout: Layout) -> psutil.Process | None:
    """The detached supervisor of this prefix, if it runs, whichever Python runs it."""
    return next(_with_command(supervisor_command(layout)[1:]), None)


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ports_of(process: psutil.Process | None) -> frozenset[int]:
    """The TCP ports on which a process listens; none for no process."""
    if process is None:
        return frozenset()
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.Error:
        return frozenset()
    return frozenset(one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN)


def listener_on(port: int) -> str:
    """A description of the process that listens on a local port."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
    return "another program"


def _from_pid_file(path: Path, command: list[str]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(path.read_text()))
        return process if process.cmdline() == command and is_alive(process) else None
    except (OSError, ValueError, psutil.Error):
        return None


def _with_command(command: list[str]) -> Iterator[psutil.Process]:
    """Every live process whose command line ends with ``command``."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-len(command) :] == command and is_alive(process):
                yield process
