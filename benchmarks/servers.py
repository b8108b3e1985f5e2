"""The servers of others, started for one measurement: on a free loopback port, with a store of their own, ended by pid.

Nothing of them is installed from here; what is missing is named with the package that brings it.
"""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mts1b_platform.server.child import spawn_child

RABBITMQ = Path("/usr/lib/rabbitmq/lib")
"""Where Debian keeps it; the program on the path insists on a user and a directory of its own."""


class ServerAbsent(Exception):
    """A server cannot run here; the message says why."""


@contextmanager
def redis_server(directory: Path) -> Generator[str]:
    """A Redis that appends to a file and syncs it every second; gives its URL.

    Raises:
        ServerAbsent: it is not installed, or did not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise ServerAbsent("redis-server is not installed (apt-get install redis-server)")
    directory.mkdir()
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "dir": directory, "appendonly": "yes", "appendfsync": "everysec"}
    command = [program, "--save", "", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    with _child(command, directory / "redis.log", port, b"PING\r\n", b"+PONG"):
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def rabbitmq_server(directory: Path) -> Generator[str]:
    """A RabbitMQ without plugins, beside an epmd of its own; gives its URL.

    Raises:
        ServerAbsent: it is not installed, or did not start.
    """
    program = next(iter(sorted(RABBITMQ.glob("rabbitmq_server-*/sbin/rabbitmq-server"))), None)
    epmd = shutil.which("epmd")
    if program is None or epmd is None:
        raise ServerAbsent("rabbitmq-server is not installed (apt-get install rabbitmq-server)")
    directory.mkdir()
    port, names, distribution = free_port(), free_port(), free_port()
    (directory / "enabled_plugins").write_text("[].\n")
    (directory / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n")
    environment = {
        "HOME": directory,
        "ERL_EPMD_PORT": names,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"bench{port}@localhost",
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": distribution,
        "RABBITMQ_MNESIA_BASE": directory / "mnesia",
        "RABBITMQ_LOG_BASE": directory / "log",
        "RABBITMQ_CONFIG_FILE": directory / "rabbitmq.conf",
        "RABBITMQ_CONF_ENV_FILE": directory / "none",
        "RABBITMQ_ENABLED_PLUGINS_FILE": directory / "enabled_plugins",
    }
    command = ["env", *(f"{name}={value}" for name, value in environment.items()), str(program)]
    names_daemon = [epmd, "-port", str(names), "-address", "127.0.0.1"]
    with (
        _child(names_daemon, directory / "epmd.log", names),
        _child(command, directory / "rabbitmq.log", port, b"AMQP\x00\x00\x09\x01", b"\x01"),
    ):
        yield f"amqp://guest:guest@127.0.0.1:{port}/"


def free_port() -> int:
    """A loopback port where nothing listens right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def server_versions() -> dict[str, str]:
    """What of them is installed, by the name of the package."""
    found: dict[str, str] = {}
    if program := shutil.which("redis-server"):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        if match := re.search(r"v=([0-9.]+)", said):
            found["redis-server"] = match[1]
    for folder in RABBITMQ.glob("rabbitmq_server-*"):
        found["rabbitmq-server"] = folder.name.rpartition("-")[2]
    header = Path("/usr/include/nats/version.h")
    if header.exists() and (match := re.search(r'NATS_VERSION_STRING\s+"([^"]+)"', header.read_text())):
        found["libnats-dev"] = match[1]
    return found


@contextmanager
def _child(
    command: Sequence[str], log: Path, port: int, question: bytes = b"", answer: bytes = b"", patience: float = 60
) -> Generator[None]:
    """``command`` from when it answers on ``port`` until the end of the block."""
    child = spawn_child(command, log)
    try:
        end = time.monotonic() + patience
        while not _answers(port, question, answer):
            if child.poll() is not None or time.monotonic() > end:
                raise ServerAbsent(f"{command[0]} did not start: {log.read_text(errors='replace')[-300:].strip()}")
            time.sleep(0.1)
        yield
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _answers(port: int, question: bytes, answer: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(question)
            return not question or probe.recv(64).startswith(answer)
    except OSError:
        return False
