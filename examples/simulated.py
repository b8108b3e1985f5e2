"""A service in a hundred simulated worlds, in each of which other things go wrong; every fill is booked once in all.

Needs pytest, as all of `mts1b_platform.testing`, and no server. In a repo of your own this is a test: see
docs/testing.md.
"""

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import aiosqlite
from mts1b_foundation.fills import FillV2
from mts1b_foundation.samples import FILL_V2
from mts1b_foundation.subjects import OMS_FILLS_CREATED_V2
from mts1b_platform.eventbus import Event
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.service import Service
from mts1b_platform.testing.simulation import Simulation

FILLS = [FILL_V2.model_copy(update={"fill_id": f"fill-{number}"}) for number in range(20)]


def books_kept_in(path: Path) -> Service:
    service = Service("mts1b-treasury")

    @service.consumes(OMS_FILLS_CREATED_V2, durable="books", dedupe=SqliteDedupe(path))
    async def book(event: Event[FillV2], tx: aiosqlite.Connection) -> None:
        await tx.execute("CREATE TABLE IF NOT EXISTS fills (name TEXT)")
        await tx.execute("INSERT INTO fills VALUES (?)", (event.payload.fill_id,))

    return service


def booked(seed: int) -> list[str]:
    """The fills in the books of one world."""
    with tempfile.TemporaryDirectory() as folder, Simulation(seed) as world:
        path = Path(folder) / "books.db"
        world.start(lambda: books_kept_in(path))
        world.publish(OMS_FILLS_CREATED_V2, *FILLS, every=0.1)
        for trouble in world.trouble(times=3, within=2.0):
            print(f"world {seed}: {trouble}")
        world.settle()
        with closing(sqlite3.connect(path)) as books:
            return [name for (name,) in books.execute("SELECT name FROM fills ORDER BY rowid")]


def main(worlds: int = 100) -> None:
    for seed in range(worlds):
        assert sorted(booked(seed)) == sorted(fill.fill_id for fill in FILLS), f"seed {seed}"
    print(f"every fill was booked once in {worlds} worlds")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
