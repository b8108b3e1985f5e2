"""What nats-server pays for what it keeps and for what passes, on one node and on three.

``make bench-sizing`` prints two tables; the figures of docs/scaling.md are one run of it. Everything that is kept
(streams, durables, connections, subjects) is idle while it is measured: memory is the resident set before and after,
processor time that of the five seconds that follow. What passes is measured by ``sizing_passing.py``.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import sizing_passing
from nats.aio.client import Client
from sizing_servers import Nodes, api, connect, nodes

_REST = 5.0
"""Seconds for which an idle server's processor time is counted."""
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """What one of them costs each node."""

    what: str
    replicas: int
    count: int
    kilobytes: float
    cpu_percent: float
    made_per_second: float
    stop_seconds: float | None


async def cost(made: Nodes, what: str, count: int, build: Callable[[], Awaitable[object]]) -> Cost:
    """Build ``count`` of ``what``, let the servers rest, and say what they take then."""
    await asyncio.sleep(1)
    before = made.resident()
    began = time.monotonic()
    await build()
    took = time.monotonic() - began
    await asyncio.sleep(2)
    busy = max(made.busy())
    await asyncio.sleep(_REST)
    cpu = (max(made.busy()) - busy) / _REST * 100
    kilobytes = (made.resident() - before) / 1024 / count
    stop: float | None = None
    if what == "durable":
        began = time.monotonic()
        made.processes[-1].terminate()
        await asyncio.to_thread(made.processes[-1].wait)
        stop = time.monotonic() - began
    return Cost(what, made.replicas, count, kilobytes, cpu, count / took, stop)


async def _many(count: int, one: Callable[[int], Awaitable[object]]) -> None:
    for first in range(0, count, _AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(first, min(count, first + _AT_ONCE))))


async def streams(made: Nodes, count: int) -> Cost:
    """Empty streams."""
    client = await connect(made.urls[0])

    async def one(number: int) -> None:
        body = {"name": f"S{number}", "subjects": [f"s.{number}"], "num_replicas": made.replicas}
        await api(client, f"STREAM.CREATE.S{number}", body)

    try:
        return await cost(made, "stream", count, lambda: _many(count, one))
    finally:
        await client.close()


async def durables(made: Nodes, count: int) -> Cost:
    """Durables with a filter each on one stream."""
    client = await connect(made.urls[0])
    await api(client, "STREAM.CREATE.D", {"name": "D", "subjects": ["d.>"], "num_replicas": made.replicas})

    async def one(number: int) -> None:
        config = {"durable_name": f"c{number}", "filter_subject": f"d.{number}", "ack_policy": "explicit"}
        await api(client, f"CONSUMER.CREATE.D.c{number}.d.{number}", {"stream_name": "D", "config": config})

    try:
        return await cost(made, "durable", count, lambda: _many(count, one))
    finally:
        await client.close()


async def connections(made: Nodes, count: int) -> Cost:
    """Connections with one subscription each."""
    clients: list[Client] = []

    async def one(number: int) -> None:
        client = await connect(made.urls[0])
        await client.subscribe(f"x.{number}")  # pyright: ignore[reportUnknownMemberType]
        clients.append(client)

    try:
        return await cost(made, "connection", count, lambda: _many(count, one))
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def subjects(made: Nodes, count: int) -> Cost:
    """Subjects of one stream, a message each."""
    client = await connect(made.urls[0])
    await api(client, "STREAM.CREATE.U", {"name": "U", "subjects": ["u.>"], "num_replicas": made.replicas})

    async def build() -> None:
        for number in range(count):
            await client.publish(f"u.{number}", b"x" * 200)
            if number % 1000 == 999:
                await client.flush()
        async with asyncio.timeout(120):
            while True:
                answer = json.loads((await client.request("$JS.API.STREAM.INFO.U", b"", timeout=30)).data)
                if answer["state"]["messages"] == count:
                    return
                await asyncio.sleep(0.1)

    try:
        return await cost(made, "subject", count, build)
    finally:
        await client.close()


_KINDS = {"stream": streams, "durable": durables, "connection": connections, "subject": subjects}
_COUNTS = {
    1: {"stream": 500, "durable": 1_000, "connection": 500, "subject": 100_000},
    3: {"stream": 60, "durable": 200},
}


def report(found: list[Cost]) -> str:
    """The table, in Markdown."""
    lines = [
        "| one more | copies | measured with | kB each, a node | idle CPU of all, a node | made a second | stop |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        stop = "" if one.stop_seconds is None else f"{one.stop_seconds:.1f} s"
        lines.append(
            f"| {one.what} | {one.replicas} | {one.count:,} | {one.kilobytes:.1f} | {one.cpu_percent:.1f} % | "
            f"{one.made_per_second:,.0f} | {stop} |"
        )
    return "\n".join(lines)


async def measure(copies: list[int], part: float) -> list[Cost]:
    """Each kind on servers of its own."""
    found: list[Cost] = []
    for replicas in copies:
        for kind, count in _COUNTS[replicas].items():
            async with nodes(replicas) as made:
                found.append(await _KINDS[kind](made, max(1, int(count * part))))
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="make bench-sizing", description=__doc__, allow_abbrev=False)
    parser.add_argument("--copies", type=int, choices=tuple(_COUNTS), help="one node or three; both unless given")
    parser.add_argument("--part", type=float, default=1.0, help="of the usual counts: 0.1 for a quick look")
    parser.add_argument("--only", choices=("kept", "passes"), help="one of the two tables; both unless given")
    given = parser.parse_args()
    copies = [given.copies] if given.copies else list(_COUNTS)
    if given.only != "passes":
        print(report(asyncio.run(measure(copies, given.part))))
    if given.only != "kept":
        print(sizing_passing.report(asyncio.run(sizing_passing.measure(copies, given.part))))


if __name__ == "__main__":
    main()
