"""Servers whose resources are measured: one, or three in a cluster."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
import psutil
from mts1b_platform.server.binary import find_server
from mts1b_platform.testing.ports import free_ports
from nats.aio.client import Client


@dataclass(frozen=True, slots=True)
class Nodes:
    """Running servers: one, or three in a cluster."""

    processes: list[psutil.Process]
    urls: list[str]

    @property
    def replicas(self) -> int:
        """Copies of what is kept."""
        return len(self.urls)

    def resident(self) -> float:
        """Bytes of the largest."""
        return max(process.memory_info().rss for process in self.processes)

    def busy(self) -> list[float]:
        """Seconds of processor time of each so far."""
        return [sum(process.cpu_times()[:2]) for process in self.processes]


@asynccontextmanager
async def nodes(count: int) -> AsyncGenerator[Nodes]:
    """Servers with file storage, until the block ends."""
    home = Path(tempfile.mkdtemp(prefix="mts1b-sizing-"))
    ports, routes = free_ports(count), free_ports(count)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
            cluster = f'cluster {{ name: sizing, listen: "127.0.0.1:{routes[number]}", routes: [{others}] }}'
            config = home / f"{number}.conf"
            config.write_text(
                f'server_name: n{number}\nlisten: "127.0.0.1:{ports[number]}"\n'
                f'jetstream {{ store_dir: "{home / str(number)}", limits {{ default_max_consumers: -1 }} }}\n'
                + (cluster if count > 1 else "")
            )
            started.append(_start(config, home / f"{number}.log"))
        urls = [f"nats://127.0.0.1:{port}" for port in ports]
        made = Nodes([psutil.Process(process.pid) for process in started], urls)
        await _ready(made)
        yield made
    finally:
        for process in started:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen([find_server().path, "-c", config], stdout=out, stderr=out)


async def connect(url: str) -> Client:
    """A connection that is not made again."""
    client = Client()
    await client.connect(url, allow_reconnect=False, error_cb=_quiet)  # pyright: ignore[reportUnknownMemberType]
    return client


async def _quiet(_: Exception) -> None:
    """What goes wrong is raised as well."""


async def _ready(made: Nodes) -> None:
    """Until a stream of that many copies can be made."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with asyncio.timeout(3):
                    client = await connect(made.urls[0])
                    await api(client, "STREAM.CREATE.READY", {"name": "READY", "num_replicas": made.replicas})
                    await api(client, "STREAM.DELETE.READY", {})
                    await client.close()
                return
            except (OSError, TimeoutError, nats.errors.Error, RuntimeError):
                await asyncio.sleep(0.2)


async def api(client: Client, verb: str, body: dict[str, Any]) -> None:
    """Ask JetStream.

    Raises:
        RuntimeError: it refuses.
    """
    answer = json.loads((await client.request(f"$JS.API.{verb}", json.dumps(body).encode(), timeout=30)).data)
    if "error" in answer:
        raise RuntimeError(answer["error"]["description"])
