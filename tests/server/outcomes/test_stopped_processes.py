"""A process that is stopped, or cut off without a word, is given its events again and knows them."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from outcome_child import ACK_WAIT
from outcome_readers import SURFACES
from outcome_world import World, names

CHILD = Path(__file__).with_name("outcome_child.py")
ORDERS = 40
LONG = 3 * ACK_WAIT


class Child:
    """A reader of its own durable, in a process of its own."""

    def __init__(self, surface: str) -> None:
        self.durable = f"books-{surface}"
        self.surface = surface
        self.handled: list[str] = []
        self.process: asyncio.subprocess.Process | None = None

    async def live(self, url: str) -> None:
        """Start, and hear what it says until it ends."""
        self.process = process = await asyncio.create_subprocess_exec(
            sys.executable, CHILD, self.surface, url, self.durable, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async for line in process.stdout:
            self.handled.append(line.decode().strip())

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@asynccontextmanager
async def living(child: Child, url: str) -> AsyncGenerator[None]:
    """The child is at work inside the block."""
    life = asyncio.create_task(child.live(url))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            child.signal(signal.SIGKILL)
        await life
        assert child.process is not None
        await child.process.wait()


class Wire:
    """What leads to the server; connections that stand may fall silent, both ways, without an end."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._silent: set[asyncio.Task[None]] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    @asynccontextmanager
    async def to(cls, target: int) -> AsyncGenerator[tuple["Wire", str]]:
        """The wire, and its URL."""
        wire = cls(target)
        listening = await asyncio.start_server(wire._accept, "127.0.0.1", 0)
        try:
            yield wire, f"nats://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        finally:
            listening.close()
            for relay in wire._relays:
                relay.cancel()
            for writer in wire._writers:
                writer.transport.abort()

    def fall_silent(self) -> None:
        """Let what is sent on the connections that stand vanish."""
        self._silent |= self._relays

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, back]
        self._relays |= {
            asyncio.create_task(self._relay(reader, back)),
            asyncio.create_task(self._relay(there, writer)),
        }

    async def _relay(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                if me not in self._silent:
                    target.write(data)
            target.close()


async def away(world: World, cause: str, surface: str) -> None:
    """A reader is away in the middle of its work; judge what it has done."""
    child = Child(surface)
    async with Wire.to(world.server.port) as (wire, url), living(child, url):
        assert await world.comes(lambda: len(child.handled) > 3)
        if cause == "stopped":
            child.signal(signal.SIGSTOP)
            await asyncio.sleep(LONG)
            child.signal(signal.SIGCONT)
        else:
            wire.fall_silent()
        assert await world.comes(lambda: set(child.handled) >= set(names(*range(ORDERS)))), surface
        assert await world.settled(child.durable), surface
        assert sorted(child.handled) == sorted(names(*range(ORDERS))), surface
        assert await world.lost(child.durable) == []


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("cause", ["stopped", "half open"])
async def test_a_process_that_was_away_for_longer_than_the_ack_wait_knows_what_it_has_handled(cause: str, world: World):
    await world.emit(*range(ORDERS))
    await asyncio.gather(*(away(world, cause, surface) for surface in SURFACES))
