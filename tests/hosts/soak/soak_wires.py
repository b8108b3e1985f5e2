"""The wires as the soak commands them, and the names that lead to them."""

import asyncio
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from mts1b_platform.eventbus.connection.asyncio_network import AsyncioNetwork
from soak_wire import ADDRESSES

DOMAIN = "bus.test"


class Wires:
    """The process of ``soak_wire.py``.

    Args:
        ports: by wire, the port that it listens on and the one that it leads to.
    """

    def __init__(self, ports: Mapping[str, tuple[int, int]]) -> None:
        self._ports = ports
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        script = Path(__file__).with_name("soak_wire.py")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, script, json.dumps(self._ports)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self._answer() == "ready"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def cut(self, *names: str) -> int:
        """Reset every connection through these wires (RST); says how many there were."""
        return await self._order("cut", names)

    async def swallow(self, *names: str, addresses: Sequence[str] = ADDRESSES) -> None:
        """Take connections at these addresses, and let no byte through either way."""
        await self._order("hole", names, addresses)

    async def held(self) -> int:
        """How many clients have not hung up yet where no byte comes through."""
        return await self._order("held", ())

    async def delay(self, seconds: float, *names: str) -> None:
        """Let everything come so much later."""
        await self._order("delay", names, seconds=seconds)

    async def mend(self, *names: str) -> int:
        """Let everything through at once; connections that bytes are missing on are reset."""
        return await self._order("mend", names)

    async def _order(self, what: str, names: Sequence[str], addresses: Sequence[str] = (), seconds: float = 0.0) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        told = {"what": what, "wires": names or list(self._ports), "addresses": list(addresses), "seconds": seconds}
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        return int(await self._answer())

    async def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            line = await self._process.stdout.readline()
        return line.decode().strip()


class NamedNetwork(AsyncioNetwork):
    """This machine's sockets, and ``*.bus.test`` with two addresses, in an order that changes from time to time."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def resolve(self, host: str, port: int) -> list[str]:
        if host.endswith(f".{DOMAIN}"):
            return self._chance.sample(ADDRESSES, len(ADDRESSES))
        return await super().resolve(host, port)
