"""A store that is away is nobody's failure: nothing is given up, the rest goes on in order when it is back."""

import asyncio
import os
import sqlite3
import stat
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mts1b_platform.eventbus import Event, Reject, RetryPolicy
from mts1b_platform.eventbus.consuming import store_pause
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.errors import StoreError
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox
from outcome_readers import SURFACES, Reading, reading
from outcome_world import DURABLE, STREAM, World, eventually, names

SOON = RetryPolicy(max_deliveries=2, base=0.02, factor=1, jitter=0)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Somebody holds the file: nobody can write to it inside the block."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


async def something_happens(world: World, reader: Reading, within: float) -> None:
    """Give the outage this long to end the reader or to cost an event; neither should."""

    async def happened() -> bool:
        return reader.failure is not None or bool(await world.lost())

    await eventually(happened, within)


def files(directory: Path) -> list[Path]:
    """The store's file and those that SQLite keeps beside it."""
    return list(directory.glob("books.db*"))


def readiness(address: str | None) -> int:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_store_whose_directory_is_missing_costs_no_event(surface: str, world: World, tmp_path: Path):
    path = tmp_path / "missing" / "books.db"
    await world.emit(*range(4))
    async with reading(world, surface, store=SqliteDedupe(path), policy=SOON, ack_wait=1) as reader:
        await something_happens(world, reader, 2)
    assert await world.lost() == []
    path.parent.mkdir()
    async with reading(world, surface, store=SqliteDedupe(path), policy=SOON, ack_wait=1) as reader:
        assert await reader.has_handled(4)
        assert reader.handled == names(0, 1, 2, 3)


@pytest.mark.parametrize("surface", SURFACES)
async def test_an_outage_of_the_store_pauses_and_spends_nothing(surface: str, world: World, tmp_path: Path):
    path = tmp_path / "books.db"
    async with SqliteDedupe(path):
        pass
    store = SqliteDedupe(path, busy_timeout=0.02)
    async with reading(world, surface, store=store, policy=SOON, ack_wait=1) as reader:
        await world.emit(0)
        assert await reader.has_handled(1, within=20)
        with locked(path):
            await world.emit(1, 2, 3)
            await something_happens(world, reader, 1)
        assert await world.comes(lambda: set(reader.handled) == set(names(0, 1, 2, 3))), await world.lost()
        assert reader.handled == names(0, 1, 2, 3)
    assert await world.lost() == []


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_database_that_does_not_answer_costs_no_event(surface: str, world: World):
    store = PostgresDedupe("postgresql://nobody@127.0.0.1:1/nothing", timeout=0.1)
    await world.emit(0, 1)
    async with reading(world, surface, store=store, policy=SOON) as reader:
        await something_happens(world, reader, 2)
    assert reader.handled == []
    assert await world.lost() == []


async def test_who_cannot_reach_his_store_is_not_ready(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTS1B_METRICS_PORT", "0")
    path = tmp_path / "books.db"
    async with SqliteDedupe(path):
        pass
    store = SqliteDedupe(path, busy_timeout=0.02)
    slow = RetryPolicy(max_deliveries=1000, base=0.1)
    async with reading(world, "Service", store=store, policy=slow) as reader:
        assert reader.service is not None
        address = reader.service.health_address

        async def answers(code: int) -> bool:
            return await asyncio.to_thread(readiness, address) == code

        await world.emit(0)
        assert await reader.has_handled(1, within=20)
        assert await eventually(lambda: answers(200), 20)
        with locked(path):
            await world.emit(1)
            assert await world.comes(lambda: answers(503))


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_store_deleted_under_the_reader_is_noticed(surface: str, world: World, tmp_path: Path):
    path = tmp_path / "books.db"
    async with reading(world, surface, store=SqliteDedupe(path), policy=SOON) as reader:
        await world.emit(0)
        assert await reader.has_handled(1, within=20)
        assert await world.settled(within=20)
        for file in files(tmp_path):
            file.unlink()
        await world.emit(1)

        async def acknowledges() -> bool:
            floor = (await world.js.consumer_info(STREAM, DURABLE)).ack_floor
            return floor is not None and floor.stream_seq == 2  # what is pending the server counts a moment late

        acknowledged = await eventually(acknowledges, 5)
    assert path.exists() or not acknowledged, "acknowledged, and its mark is nowhere"
    assert await world.lost() == []


@pytest.mark.parametrize("make", ["store", "outbox"])
async def test_what_is_stored_is_for_its_owner_only(make: str, tmp_path: Path):
    path, before = tmp_path / "books.db", os.umask(0o022)
    try:
        made: Any = SqliteDedupe(path) if make == "store" else SqliteOutbox(path, service="mts1b-oms")
        async with made:
            modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in files(tmp_path)}
    finally:
        os.umask(before)
    assert modes
    assert set(modes.values()) == {"0o600"}, modes


async def test_of_several_handlers_one_tries_whether_the_store_is_back(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_pause, "_PAUSE", 0.1)
    tried: list[str] = []
    away = True

    async def write(event: Event[Any]) -> None:
        tried.append(event.payload.order_id)
        await asyncio.sleep(0.02)
        if away:
            raise StoreError("the disk is full")

    async with reading(world, "Service", write, concurrency=3, policy=SOON) as reader:
        await world.emit(*range(8))
        assert await world.comes(lambda: tried.count("order-0") >= 5)
        assert set(tried) == set(names(0, 1, 2)), "those behind wait"
        assert len(tried) <= tried.count("order-0") + 2 * 2
        away = False
        assert await reader.has_handled(8)
    assert await world.lost() == []


async def test_several_handlers_go_on_after_the_one_that_tries_has_given_up_its_event(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store_pause, "_PAUSE", 0.1)
    tried = Counter[str]()

    async def write(event: Event[Any]) -> None:
        tried[event.payload.order_id] += 1
        if tried["order-0"] == 1:
            raise StoreError("the disk is full")
        if event.payload.order_id == "order-0":
            raise Reject("no order")

    async with reading(world, "Service", write, concurrency=3, policy=SOON) as reader:
        await world.emit(*range(4))
        assert await reader.has_handled(3)
        assert await world.settled()
    assert await world.lost() == ["order-0 rejected"]
