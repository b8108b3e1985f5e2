"""A relay between a client and a server, which passes on, keeps or loses what goes through it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from mts1b_platform.server import NatsServer


class Wire:
    """A relay to a server. Each direction passes bytes on, keeps them for later, or loses them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._lossy = {"up": False, "down": False}
        self.url = ""
        for gate in self._open.values():
            gate.set()

    @classmethod
    @asynccontextmanager
    async def to(cls, server: NatsServer) -> AsyncGenerator["Wire"]:
        wire = cls(server.port)
        listening = await asyncio.start_server(wire._accept, "127.0.0.1", 0)
        wire.url = "nats://127.0.0.1:{1}".format(*listening.sockets[0].getsockname())
        try:
            yield wire
        finally:
            listening.close()
            wire.cut()

    def keep(self, direction: str) -> None:
        self._open[direction].clear()

    def pass_on(self, direction: str) -> None:
        self._lossy[direction] = False
        self._open[direction].set()

    def lose(self, direction: str) -> None:
        self._lossy[direction] = True

    def cut(self) -> None:
        """Break the connections, with whatever was kept; new ones pass everything on."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        for direction in self._open:
            self.pass_on(direction)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, back}
        for source, target, direction in ((reader, back, "up"), (there, writer, "down")):
            task = asyncio.create_task(self._relay(source, target, direction))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, direction: str) -> None:
        try:
            while data := await source.read(65536):
                await self._open[direction].wait()
                if not self._lossy[direction]:
                    target.write(data)
        except OSError:
            pass
        target.close()
