"""The detached supervisor: ``python -m mts1b_deploy.supervise.supervisor PREFIX``.

It guarantees: one supervisor for a prefix (a lock that the kernel frees when it dies), one server under it, which is
started again whenever it ends, at once the first time and then with growing pauses of up to 10 s. A server that
already runs, because an earlier supervisor was killed, is adopted as it is: its clients notice nothing.

SIGTERM ends the server gracefully and then the supervisor; SIGHUP makes the server read its configuration again.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

import psutil
from mts1b_platform.file_lock import try_lock

from mts1b_deploy.layout import Layout
from mts1b_deploy.supervise.processes import find_server_process, is_alive
from mts1b_deploy.supervise.state import Phase, SupervisorState, write_state

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
STEADY = 30.0
"""Seconds after which a server counts as well, and the next pause is short again."""

STOP_BUDGET = 60.0
"""Seconds a server may take to end; ``mts1b-deploy stop`` has a shorter budget of its own."""

_OUTPUT_LIMIT = 1_000_000
_ADOPTED_POLL = 0.2

log = logging.getLogger("mts1b.supervisor")


class Supervisor:
    """Runs one server until told to stop."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # Signals end a wait through a pipe that the interpreter itself writes to. A handler must not touch a lock,
        # so no threading.Event: the thread that it interrupts may hold it.
        self._wakeup, writing = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._stopping = False
        self._restarts = 0
        self._last_exit: str | None = None

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        signal.signal(signal.SIGCHLD, self._on_child)
        pause = FIRST_PAUSE
        while not self._stopping:
            server, child = self._adopt_or_spawn()
            since = time.monotonic()
            self._tell("running", server.pid if server else None)
            if server is not None:
                self._wait_for_end(server, child)
            if self._stopping:
                if server is not None:
                    self._end(server, child)
                break
            if time.monotonic() - since > STEADY:
                pause = FIRST_PAUSE
            self._restarts += 1
            self._last_exit = _described(child)
            log.warning("the server ended (%s); starting it again in %.1f s", self._last_exit, pause)
            self._tell("waiting", None)
            self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _adopt_or_spawn(self) -> tuple[psutil.Process | None, "subprocess.Popen[bytes] | None"]:
        adopted = find_server_process(self._layout)
        if adopted is not None:
            log.info("adopted the running server, pid %d", adopted.pid)
            return adopted, None
        output = self._layout.nats_output
        if output.exists() and output.stat().st_size > _OUTPUT_LIMIT:
            output.replace(output.with_suffix(".log.1"))
        try:
            with output.open("ab") as file:
                child = subprocess.Popen(
                    self._layout.server_command, stdin=subprocess.DEVNULL, stdout=file, stderr=file
                )
            server = psutil.Process(child.pid)
        except (OSError, psutil.NoSuchProcess) as error:
            log.error("the server cannot be started: %s", error)  # no traceback for people
            return None, None
        log.info("started the server, pid %d", child.pid)
        return server, child

    def _wait_for_end(self, server: psutil.Process, child: "subprocess.Popen[bytes] | None") -> None:
        while not self._stopping:
            if (child.poll() is not None) if child else not is_alive(server):
                return
            self._wait_for_signal(None if child else _ADOPTED_POLL)

    def _end(self, server: psutil.Process, child: "subprocess.Popen[bytes] | None") -> None:
        """Let the server end gracefully, and kill it when it does not."""
        self._tell("stopping", server.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            server.terminate()
        until = time.monotonic() + STOP_BUDGET
        while (child.poll() is None) if child else is_alive(server):
            if time.monotonic() > until:
                log.error("the server did not end within %.0f s: killed", STOP_BUDGET)
                with contextlib.suppress(psutil.NoSuchProcess):
                    server.kill()
            time.sleep(0.02)
        log.info("the server ended (%s)", _described(child))

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._wait_for_signal(left)

    def _wait_for_signal(self, seconds: float | None) -> None:
        """Wait for a signal, including one since the last wait, or until the time is over."""
        select.select([self._wakeup], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)

    def _tell(self, phase: Phase, server_pid: int | None) -> None:
        state = SupervisorState(
            supervisor_pid=os.getpid(),
            phase=phase,
            server_pid=server_pid,
            restarts=self._restarts,
            last_exit=self._last_exit,
        )
        try:
            write_state(self._layout, state)
        except OSError as error:  # a full disk is no reason to let go of the server
            log.warning("the state file cannot be written: %s", error)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _on_child(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler that only ends the wait."""

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        server = find_server_process(self._layout)
        if server is not None:
            server.send_signal(signal.SIGHUP)


def _described(child: "subprocess.Popen[bytes] | None") -> str:
    """How a server ended, as far as its parent can know."""
    if child is None or child.returncode is None:
        return "how is not known"
    if child.returncode < 0:
        return f"killed by {signal.Signals(-child.returncode).name}"
    return f"exit code {child.returncode}"


def main(prefix: str) -> int:
    """Run the supervisor of ``prefix``; 3 when another one runs already."""
    layout = Layout(Path(prefix))
    layout.logs.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(layout.supervisor_log, maxBytes=1_000_000, backupCount=3)
    formatter = logging.Formatter(
        "[%(process)d] %(asctime)s.%(msecs)06d [%(levelname).3s] %(message)s", datefmt="%Y/%m/%d %H:%M:%S"
    )
    formatter.converter = time.gmtime  # as the server's own log, so that both can be laid side by side
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    lock = os.open(layout.supervisor_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if not try_lock(lock):
        log.info("another supervisor of this prefix runs: nothing to do")
        return 3
    log.info("supervising %s", layout.prefix)
    Supervisor(layout).run()
    layout.supervisor_state.unlink(missing_ok=True)
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
