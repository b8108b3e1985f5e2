"""Clocks jump, both ways: what is leased or remembered by them holds all the same."""

import time
from pathlib import Path

import aiosqlite
import pytest
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus.outbox import Relay
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox
from outcome_world import World, order

HOURS = 3 * 3600.0


async def add(outbox: SqliteOutbox, db: aiosqlite.Connection, number: int) -> None:
    """What a business transaction does."""
    await db.execute("BEGIN IMMEDIATE")
    await outbox.add(db, OMS_ORDERS_CREATED, order(number))
    await db.commit()


async def test_a_lease_taken_by_a_clock_that_was_ahead_ends_all_the_same(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    right, path = time.time, tmp_path / "oms.db"
    async with SqliteOutbox(path, service="mts1b-oms") as outbox, aiosqlite.connect(path) as db:
        monkeypatch.setattr(time, "time", lambda: right() + HOURS)
        assert await outbox.hold("a relay that is killed now", 0.3)
        monkeypatch.setattr(time, "time", right)
        await add(outbox, db, 0)
    async with Relay(world.bus, SqliteOutbox(path, service="mts1b-oms"), lease=0.3) as heir:
        assert await world.comes(lambda: heir.counters.published == 1)


async def test_a_lease_ends_although_the_clock_goes_back(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    right, path = time.time, tmp_path / "oms.db"
    async with SqliteOutbox(path, service="mts1b-oms") as outbox, aiosqlite.connect(path) as db:
        assert await outbox.hold("a relay that is killed now", 0.3)
        await add(outbox, db, 0)
    monkeypatch.setattr(time, "time", lambda: right() - HOURS)
    async with Relay(world.bus, SqliteOutbox(path, service="mts1b-oms"), lease=0.3) as heir:
        assert await world.comes(lambda: heir.counters.published == 1)
