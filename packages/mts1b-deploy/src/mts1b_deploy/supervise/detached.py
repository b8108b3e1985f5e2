"""Starting and ending the detached supervisor."""

import atexit
import contextlib
import os
import subprocess
from collections.abc import Callable

import psutil

from mts1b_deploy.layout import Layout
from mts1b_deploy.supervise.processes import (
    find_server_process,
    find_supervisor_process,
    is_alive,
    supervisor_command,
)

_reaped_here: list["subprocess.Popen[bytes]"] = []
"""Supervisors that this process started. They outlive it; while it lives, somebody has to take note when they end."""


@atexit.register
def _reap() -> None:
    for process in _reaped_here:
        process.poll()


class DetachedSupervision:
    """A process of its own session that outlives the command and the terminal, but not the machine's boot."""

    name = "detached"

    def start(self, layout: Layout) -> Callable[[], bool]:
        """Start a supervisor unless one runs; returns a function that says whether it is alive."""
        running = find_supervisor_process(layout)
        if running is not None:
            return lambda: is_alive(running)
        layout.logs.mkdir(parents=True, exist_ok=True)
        layout.run.mkdir(parents=True, exist_ok=True)
        with layout.supervisor_log.open("ab") as output:
            started = subprocess.Popen(
                supervisor_command(layout),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        _reaped_here[:] = [process for process in _reaped_here if process.poll() is None] + [started]
        return lambda: started.poll() is None

    def request_stop(self, layout: Layout) -> None:
        """Ask supervisor and server to end; returns at once."""
        supervisor = find_supervisor_process(layout)
        server = find_server_process(layout)
        with contextlib.suppress(psutil.NoSuchProcess):
            if supervisor is not None:
                supervisor.terminate()
            elif server is not None:
                server.terminate()
        # One that somebody froze ends only when it may run.
        for process in (supervisor, server):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process is not None and process.status() == psutil.STATUS_STOPPED:
                    process.resume()

    def forget(self, layout: Layout) -> None:
        """Remove what only has a meaning while the processes run."""
        for path in (layout.supervisor_state, layout.nats_pid):
            path.unlink(missing_ok=True)

    def is_enabled(self, layout: Layout) -> bool:
        """Whether somebody will start the server again when it ends."""
        supervisor = find_supervisor_process(layout)
        return supervisor is not None and supervisor.pid != os.getpid()

    def remove(self, layout: Layout) -> None:
        """Nothing to do: it leaves no files."""

    def reload_units(self) -> None:
        """Nothing to do: there are no unit files."""

    def logs_hint(self, layout: Layout) -> str:
        """Where the supervisor's own log is."""
        return str(layout.supervisor_log)
