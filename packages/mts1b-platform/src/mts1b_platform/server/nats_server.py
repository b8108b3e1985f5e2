"""Running a real nats-server as a child of this process: for tests, rehearsals and the embedded default.

``NatsServer`` guarantees: once started it answers, with JetStream recovered; it keeps its ports and its store
over ``kill()`` and ``restart()``; it dies with this process, even when that is killed (on Linux; elsewhere at
a normal exit). It listens on loopback unless told otherwise.

The ports are chosen below the range from which the kernel serves outgoing connections. A port out of that
range can be taken, while the server is down, by any client's own connection, even by the client that dials
it. Two servers that choose the same port do no harm: the one that cannot bind chooses again.
"""

import asyncio
import os
import random
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from mts1b_platform.server.binary import ServerError, find_server
from mts1b_platform.server.child import spawn_child
from mts1b_platform.server.probe import ServerInfo, is_healthy, read_info

_CHOICE_OF_PORTS = range(20_000, 32_000)
_POLL = 0.002


class ServerStartError(ServerError):
    """The server was started and did not come up; the message carries what it logged."""


class NatsServer:
    """One real nats-server on this machine, with a store of its own.

    Args:
        directory: where store and log go; a temporary one, removed by ``stop()``, when left out.
        port: client port; chosen free when left out, and then kept for the life of this object.
        monitor_port: likewise for the monitoring endpoint.
        jetstream: False for a server without streams.
        config: a nats-server configuration to start from; ports, store and host given here win over it.
        binary: path of the nats-server; found by ``find_server`` when left out.
        host: address to listen on.
        timeout: seconds that it may take to come up.
        threads: at most so many of it run at a time; as many as there are cores when left out.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        monitor_port: int | None = None,
        jetstream: bool = True,
        config: Path | None = None,
        binary: str | Path | None = None,
        host: str = "127.0.0.1",
        timeout: float = 15.0,
        threads: int | None = None,
    ) -> None:
        self.binary = find_server(binary)
        self._temporary = tempfile.TemporaryDirectory(prefix="mts1b-nats-") if directory is None else None
        self.directory = Path(self._temporary.name) if self._temporary else Path(directory or "")
        self.host = host
        self.jetstream = jetstream
        self.config = config
        self.info: ServerInfo | None = None
        """What the server said of itself when it last came up."""
        # Its answers are told from another server's by this name.
        self._name = f"mts1b-{uuid.uuid4().hex[:12]}"
        self._timeout = timeout
        self._environment = {"GOMAXPROCS": str(threads)} if threads is not None else None
        self._wanted = (port, monitor_port)
        self._ports: tuple[int, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The client port; known once started."""
        return self._known_ports()[0]

    @property
    def monitor_port(self) -> int:
        """The port of the monitoring endpoint; known once started."""
        return self._known_ports()[1]

    @property
    def url(self) -> str:
        """What clients connect to, such as ``nats://127.0.0.1:24222``."""
        return f"nats://{self.host}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The monitoring endpoint, such as ``http://127.0.0.1:28222``."""
        return f"http://{self.host}:{self.monitor_port}"

    @property
    def store_dir(self) -> Path:
        """JetStream's store; it outlives ``kill()`` and ``restart()``, and ``stop()`` if not temporary."""
        return self.directory / "store"

    @property
    def log_file(self) -> Path:
        """Everything that the server wrote, over all its starts."""
        return self.directory / "nats-server.log"

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self.pid is not None

    # -- what it does ----------------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Start it and wait until it answers with JetStream ready; nothing happens when it runs already.

        Raises:
            ServerStartError: it ended, its port is taken, or it did not answer in time.
        """
        if self.running:
            return self
        deadline = time.monotonic() + self._timeout
        try:
            self._spawn()
            # Only the waiting goes to another thread: the child's life is tied to the thread that makes it.
            while not await asyncio.to_thread(self._came_up, deadline):
                self._spawn()
        except BaseException:
            self.kill()
            raise
        return self

    def start_blocking(self) -> Self:
        """``start()`` for callers without an event loop."""
        if self.running:
            return self
        deadline = time.monotonic() + self._timeout
        try:
            self._spawn()
            while not self._came_up(deadline):
                self._spawn()
        except BaseException:
            self.kill()
            raise
        return self

    async def stop(self, timeout: float = 10.0) -> None:
        """Ask it to end, as an operator would; kill it when it has not after ``timeout`` seconds."""
        await asyncio.to_thread(self.stop_blocking, timeout)

    def stop_blocking(self, timeout: float = 10.0) -> None:
        """``stop()`` for callers without an event loop."""
        self._end(timeout)
        if self._temporary is not None:
            self._temporary.cleanup()

    def kill(self) -> None:
        """End it as a crash would (``kill -9``): no goodbye to clients, nothing flushed. The store stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def restart(self) -> Self:
        """Bring it back on the same ports and store: after ``kill()``, or ended gracefully first."""
        await asyncio.to_thread(self._end, 10.0)
        return await self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers. Frozen when this returns."""
        process = self._running_process()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._running_process().send_signal(signal.SIGCONT)

    def log(self) -> str:
        """The text of the log so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # -- how -------------------------------------------------------------------------------------------------

    def _known_ports(self) -> tuple[int, int]:
        if self._ports is None:
            raise ServerError("the server has no ports yet: start it first")
        return self._ports

    def _running_process(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ServerError("the server does not run: start it first")
        return self._process

    def _spawn(self) -> None:
        if self._ports is None:
            chosen = random.sample(_CHOICE_OF_PORTS, 2)
            self._ports = (self._wanted[0] or chosen[0], self._wanted[1] or chosen[1])
        port, monitor_port = self._ports
        command = [str(self.binary.path), "-n", self._name, "-a", self.host]
        command += ["-p", str(port), "-m", str(monitor_port)]
        if self.config is not None:
            command += ["-c", str(self.config)]
        if self.jetstream:
            command += ["-js", "-sd", str(self.store_dir)]
        self.directory.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._process = spawn_child(command, self.log_file, self._environment)

    def _came_up(self, deadline: float) -> bool:
        """Wait for the spawned process; False asks for another try, with other ports if they are ours."""
        process = self._running_or_ended()
        port, monitor_port = self._known_ports()
        while process.poll() is None:
            info = read_info(self.host, port)
            if info is not None and info.server_name == self._name and is_healthy(self.host, monitor_port):
                self.info = info
                return True
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"nats-server {self.binary.version} did not answer on {self.url} within "
                    f"{self._timeout:g} s; its log ({self.log_file}): {self._complaint()}"
                )
            time.sleep(_POLL)
        taken = [wanted for wanted, used in zip(self._wanted, (port, monitor_port), strict=True) if self._taken(used)]
        if not taken or any(taken) or time.monotonic() > deadline:
            raise ServerStartError(
                f"nats-server {self.binary.version} ended with code {process.returncode} while starting on "
                f"{self.url} (monitoring {self.monitor_url}); its log ({self.log_file}): {self._complaint()}"
            )
        if self.info is None:
            self._ports = None
        else:
            time.sleep(0.05)  # it has clients that know the port, so wait for it to come free
        return False

    def _running_or_ended(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerStartError("the server was killed while it started")
        return self._process

    def _end(self, timeout: float) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a paused process ends only when it may run
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _taken(self, port: int) -> bool:
        return f":{port}: bind: address already in use" in self._log_since_start()

    def _log_since_start(self) -> str:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").strip()

    def _complaint(self) -> str:
        """What it wrote since the last start that tells why it did not come up."""
        lines = self._log_since_start().splitlines()
        errors = [line for line in lines if "[FTL]" in line or "[ERR]" in line or "[INF]" not in line]
        return "\n".join(errors or lines)[-1500:] or "(empty)"
