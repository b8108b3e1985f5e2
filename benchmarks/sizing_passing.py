"""What an event that passes costs nats-server, in processor time of all nodes together.

Raw publishes of 300 bytes, as many at once as the connection takes. What they cost the clients is measured elsewhere
(``make bench``): here clients only have to be there.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from sizing_servers import Nodes, api, connect, nodes

_EVENTS: Final = 20_000
_BYTES: Final = b"x" * 300
_WINDOW: Final = 500
_READERS: Final = 4
_PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Passing:
    """What one event costs the servers."""

    what: str
    copies: int
    microseconds: float


class Arrivals:
    """Counts what a subscription is given."""

    def __init__(self) -> None:
        self._last = 0
        self._more = asyncio.Event()

    async def take(self, message: Msg) -> None:
        """One more."""
        del message
        self._last += 1
        self._more.set()

    async def reach(self, wanted: int) -> None:
        """Wait until there were so many.

        Raises:
            TimeoutError: they do not come.
        """
        async with asyncio.timeout(_PATIENCE):
            while self._last < wanted:
                self._more.clear()
                await self._more.wait()


class Acknowledging(Arrivals):
    """Acknowledges what it counts."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    async def take(self, message: Msg) -> None:
        """One more, and say that it is done."""
        await self._client.publish(message.reply, b"+ACK")
        await super().take(message)


@asynccontextmanager
async def _client(made: Nodes) -> AsyncGenerator[Client]:
    client = await connect(made.urls[0])
    try:
        yield client
    finally:
        await client.close()


async def _live(made: Nodes, events: int, readers: int) -> float:
    """Seconds for so many best-effort events with so many readers."""
    async with _client(made) as sender, _client(made) as reader:
        arrivals = [Arrivals() for _ in range(readers)]
        for each in arrivals:
            await reader.subscribe("live", cb=each.take)  # pyright: ignore[reportUnknownMemberType]
        await reader.flush()
        before = sum(made.busy())
        for number in range(1, events + 1):
            await sender.publish("live", _BYTES)
            if number % _WINDOW == 0:
                await sender.flush()
                for each in arrivals:
                    await each.reach(number)
        return sum(made.busy()) - before


async def _stored(made: Nodes, events: int) -> float:
    """Seconds for so many events that are stored and acknowledged."""
    async with _client(made) as client:
        await api(client, "STREAM.CREATE.P", {"name": "P", "subjects": ["p"], "num_replicas": made.replicas})
        acks = Arrivals()
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=acks.take)  # pyright: ignore[reportUnknownMemberType]
        before = sum(made.busy())
        for number in range(1, events + 1):
            await client.publish("p", _BYTES, reply=inbox)
            if number % _WINDOW == 0:
                await acks.reach(number)
        await acks.reach(events)
        return sum(made.busy()) - before


async def _read(made: Nodes, events: int) -> float:
    """Seconds for so many stored events that one durable is given, and acknowledges; behind :func:`_stored`."""
    async with _client(made) as client:
        config = {"durable_name": "d", "ack_policy": "explicit", "max_ack_pending": 4 * _WINDOW}
        await api(client, "CONSUMER.CREATE.P.d", {"stream_name": "P", "config": config})
        given = Acknowledging(client)
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=given.take)  # pyright: ignore[reportUnknownMemberType]
        before = sum(made.busy())
        for number in range(0, events, _WINDOW):
            pull = json.dumps({"batch": min(_WINDOW, events - number)}).encode()
            await client.publish("$JS.API.CONSUMER.MSG.NEXT.P.d", pull, reply=inbox)
            await given.reach(min(events, number + _WINDOW))
        await client.flush()
        return sum(made.busy()) - before


async def measure(copies: list[int], part: float) -> list[Passing]:
    """Each kind on servers of its own: best effort, stored, and read by a durable."""
    events = max(_WINDOW, int(_EVENTS * part))
    found: list[Passing] = []

    def add(what: str, replicas: int, seconds: float) -> None:
        found.append(Passing(what, replicas, seconds / events * 1e6))

    if 1 in copies:
        async with nodes(1) as made:
            alone = await _live(made, events, 1)
            add("best effort, one reader", 1, alone)
            add("each further reader", 1, (await _live(made, events, 1 + _READERS) - alone) / _READERS)
    for replicas in copies:
        async with nodes(replicas) as made:
            add("stored and acknowledged", replicas, await _stored(made, events))
            add("each durable that is given it and acknowledges", replicas, await _read(made, events))
    return found


def report(found: list[Passing]) -> str:
    """The table, in Markdown."""
    lines = ["| an event | copies | µs of processor time, all nodes |", "|---|--:|--:|"]
    lines += [f"| {one.what} | {one.copies} | {one.microseconds:.1f} |" for one in found]
    return "\n".join(lines)
