"""The wires between clients and servers, in a process of their own: they can be cut, slowed, or swallow everything.

    python soak_wire.py '{"n1": [12001, 20001], …}'

By wire: the port that it listens on, at 127.0.0.1 and at 127.0.0.2, and the server's port. Orders come as lines on
standard input, each is answered with a line; the process ends with its standard input.
"""

import asyncio
import json
import socket
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

ADDRESSES: Final = ("127.0.0.1", "127.0.0.2")
_RESET: Final = b"\1\0\0\0\0\0\0\0"  # SO_LINGER of no seconds: closing sends RST


@dataclass(eq=False, slots=True)
class Pair:
    """A client's connection and the one to the server."""

    address: str
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    swallowed: bool = False
    """Whether bytes are missing: it can only be cut."""
    left: bool = False
    """Whether the client has hung up."""

    def cut(self) -> None:
        for writer in self.writers:
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@dataclass(eq=False, slots=True)
class Wire:
    """What leads to one server."""

    port: int
    target: int
    holes: set[str] = field(default_factory=set[str])
    """The addresses at which connections are taken and bytes vanish, both ways."""
    delay: float = 0.0
    """Seconds that everything is late."""
    pairs: set[Pair] = field(default_factory=set[Pair])
    copying: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def listen(self) -> None:
        for address in ADDRESSES:
            await asyncio.start_server(lambda r, w, at=address: self._accept(r, w, at), address, self.port)

    def order(self, what: str, addresses: list[str], seconds: float) -> int:
        """Do it; returns how many connections were cut, or are held by a hole."""
        doomed: list[Pair] = []
        if what == "cut":
            doomed = list(self.pairs)
        elif what == "hole":
            self.holes |= set(addresses)
        elif what == "delay":
            self.delay = seconds
        elif what == "mend":
            self.holes.clear()
            self.delay = 0.0
            doomed = [pair for pair in self.pairs if pair.swallowed]
        elif what == "held":
            return sum(pair.address in self.holes and not pair.left for pair in self.pairs)
        for pair in doomed:
            pair.cut()
        return len(doomed)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = Pair(address, (writer, server_writer))
        self.pairs.add(pair)
        for source, target in ((reader, server_writer), (server_reader, writer)):
            task = asyncio.create_task(self._copy(pair, source, target))
            self.copying.add(task)
            task.add_done_callback(self.copying.discard)

    async def _copy(self, pair: Pair, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        late: deque[bytes] = deque()
        due = 0.0
        with suppress(OSError):
            while data := await source.read(65536):
                if pair.swallowed or pair.address in self.holes:
                    pair.swallowed = True
                elif self.delay or late:
                    due = max(due, loop.time() + self.delay)
                    late.append(data)
                    loop.call_at(due, lambda: target.write(late.popleft()))  # the oldest, whichever timer is first
                else:
                    target.write(data)
                    await target.drain()
        pair.left = pair.left or target is pair.writers[1]
        while late:  # noqa: ASYNC110 - timers empty it
            await asyncio.sleep(0.01)
        if not pair.swallowed:  # a hole does not let a goodbye through either
            self.pairs.discard(pair)
            for writer in pair.writers:
                writer.close()


async def main() -> None:
    wires = {name: Wire(*ports) for name, ports in json.loads(sys.argv[1]).items()}
    for wire in wires.values():
        await wire.listen()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := await orders.readline():
        told = json.loads(line)
        cut = [wires[name].order(told["what"], told["addresses"], told["seconds"]) for name in told["wires"]]
        for name in told["wires"]:
            wires[name].pairs = {pair for pair in wires[name].pairs if not pair.writers[0].transport.is_closing()}
        print(sum(cut), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
