"""Halts under load: nothing is accepted after a halt was stored, and how long it takes until all obey.

``python tests/system/chaos_desk/desk_halts.py --halts 50`` runs a busy desk on a simulated market, halts everything
again and again, and compares what the streams say: when each halt was stored, when it was obeyed, when orders were
accepted.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mts1b_foundation.subjects import (
    OMS_HALT_OBEYED,
    OMS_ORDERS_ACCEPTED_V2,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_HALT_REQUESTED,
    DurableSubject,
)
from mts1b_operations.halt import clear_halt, request_halt, wait_for_obedience
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer

_WAIT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Halted:
    """What the streams say of some halts."""

    accepted: int
    """Orders accepted over the whole run."""
    late: list[str]
    """Orders accepted between the moment a halt was stored and its clearance: there must be none."""
    unheld: list[str]
    """The same for halts without a hold: the order management did not answer the requester in time."""
    obeyed: list[float]
    """Milliseconds from each halt stored to the last service's word that it obeys, smallest first."""
    asked: list[float]
    """Milliseconds from the call to the halt being stored, the order management's answer included."""
    held: int
    """Halts that were stored while the order management held."""


def quantile(times: Sequence[float], share: float) -> float:
    """The time below which ``share`` of the sorted ``times`` lie."""
    return times[min(len(times) - 1, int(share * len(times)))]


async def halt_repeatedly(server: NatsServer, directory: Path, settings: Path, *, halts: int, seed: int = 0) -> Halted:
    """Halt a busy desk ``halts`` times and read from the streams what came of it.

    A halt without a hold promises less; for each such there is another, up to twice as many in all.
    """
    rng = random.Random(seed)  # noqa: S311 - when to halt
    asked: list[float] = []
    unheld: set[str] = set()
    desk = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mts1b_desk", "run", "--settings", str(settings), "--speed", "20", "--json",
        "--start-within", "300",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, cwd=directory,
        env={**os.environ, "MTS1B_NATS_URL": server.url, "XDG_CONFIG_HOME": str(directory)},
    )  # fmt: skip
    try:
        async with (
            await connect(server.url, service="mts1b-operations") as bus,
            bus.listen(OMS_ORDERS_ACCEPTED_V2) as accepted,
        ):
            while len(asked) < halts + min(halts, len(unheld)):
                await anext(accepted)  # the desk trades
                await asyncio.sleep(rng.uniform(0, 0.2))
                began = asyncio.get_running_loop().time()
                halt, held = await request_halt(bus, fund_id=None, reason="rehearsal", actor="tests")
                asked.append((asyncio.get_running_loop().time() - began) * 1000)
                if not held:
                    unheld.add(halt.halt_id)
                _, silent = await wait_for_obedience(bus, halt, ("mts1b-oms",), timeout=_WAIT)
                assert not silent, f"{halt.halt_id} was not obeyed within {_WAIT.total_seconds():g} s"
                await asyncio.sleep(rng.uniform(0, 0.1))
                await clear_halt(bus, halt.halt_id, reason="rehearsal", actor="tests")
                while accepted.waiting:
                    await anext(accepted)
            return await read_streams(bus, asked, unheld)
    finally:
        desk.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(desk.wait(), 60)
        except TimeoutError:
            desk.kill()
            await desk.wait()


async def read_streams(bus: EventBus, asked: Sequence[float] = (), unheld: Collection[str] = ()) -> Halted:
    """Compare when halts were stored, obeyed and cleared with when orders were accepted."""
    requested = await _times(bus, OPERATIONS_HALT_REQUESTED, "halt_id")
    cleared = dict(await _times(bus, OPERATIONS_HALT_CLEARED, "halt_id"))
    obeyed = dict(await _times(bus, OMS_HALT_OBEYED, "halt_id"))
    accepted = await _times(bus, OMS_ORDERS_ACCEPTED_V2, "order_id")
    late: dict[bool, list[str]] = {True: [], False: []}
    for halt, stored in requested:
        late[halt not in unheld] += [
            f"{order}: {(at - stored).total_seconds() * 1000:.1f} ms after {halt} was stored"
            for order, at in accepted
            if stored < at and (halt not in cleared or at < cleared[halt])
        ]
    times = sorted((obeyed[halt] - stored).total_seconds() * 1000 for halt, stored in requested if halt in obeyed)
    return Halted(len(accepted), late[True], late[False], times, sorted(asked), len(requested) - len(unheld))


async def _times(bus: EventBus, subject: DurableSubject[Any], name: str) -> list[tuple[str, datetime]]:
    """Every event of a subject: what it names, and when its stream stored it."""
    found: list[tuple[str, datetime]] = []
    durable = f"read-{subject.pattern.replace('.', '-')}"
    async with bus.consume(subject, durable=durable, inactive_threshold=30) as consumer:
        info = await bus.plain_jetstream().consumer_info(consumer.stream, durable)
        left = (info.num_pending or 0) + (info.num_ack_pending or 0)  # the first may be on their way here already
        while left:
            async with await anext(consumer) as event:
                found.append((str(getattr(event.payload, name)), event.timestamp))
            left = event.position.pending
    return found


async def _measure(halts: int) -> Halted:
    from desk_chaos import desk_file

    with tempfile.TemporaryDirectory(prefix="mts1b-halts-") as directory:
        place = Path(directory)
        async with NatsServer(place / "nats") as server:
            async with await connect(server.url) as bus:
                await apply_streams(bus)
            return await halt_repeatedly(server, place, desk_file(place / "desk.json"), halts=halts)


def main() -> int:
    """Print the figures; 1 when an order was accepted after a halt."""
    parser = argparse.ArgumentParser(description="Halts under load.")
    parser.add_argument("--halts", type=int, default=50)
    options = parser.parse_args()
    found = asyncio.run(_measure(options.halts))
    print(f"{len(found.obeyed)} halts of every fund under load; {found.accepted} orders accepted over the run")
    print(f"accepted after a halt was stored: {len(found.late)}")
    if without := len(found.obeyed) - found.held:
        print(f"without a hold: {without} halts, {len(found.unheld)} accepted after them")
    for line in found.late:
        print(f"  {line}")
    for what, times in (("stored to obeyed by the last service", found.obeyed), ("asked to stored", found.asked)):
        print(f"{what}: p50 {quantile(times, 0.5):.1f} ms, p99 {quantile(times, 0.99):.1f} ms, most {times[-1]:.1f} ms")
    return 1 if found.late else 0


if __name__ == "__main__":
    sys.exit(main())
