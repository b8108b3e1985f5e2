"""The office of a service: one instance holds it, and what another one stores comes to nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from mts1b_desk.errors import OutOfOffice
from mts1b_desk.state.office import InOffice, Office
from mts1b_desk.state.sqlite import SqliteStore
from mts1b_desk.tables import Change

LONG = 3600.0
"""A takeover that no test here lives to see."""


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Callable[[], SqliteStore]]:
    """Opens the file of one service."""
    made: list[SqliteStore] = []

    def store() -> SqliteStore:
        made.append(SqliteStore(tmp_path / "oms.db", session="s", repo="mts1b-oms", actor="test"))
        return made[-1]

    yield store
    for each in made:
        await each.close()


async def test_one_that_gives_no_sign_is_taken_over_from_and_stores_and_publishes_nothing_more(
    store: Callable[[], SqliteStore],
):
    frozen, heir = Office(store(), 0.2), Office(store(), 0.2)
    await frozen.take()
    state = InOffice(store(), frozen)
    assert await state.open() == {}, "the office is no state of the service"
    async with state.transaction() as tx:
        await state.write(tx, [Change("t", "k", b"1")], ())
    began = time.monotonic()
    await heir.take()
    assert time.monotonic() - began > 0.2
    assert heir.term == frozen.term + 1
    with pytest.raises(OutOfOffice, match=f"another instance has taken over: {heir.member}"):
        async with state.transaction():
            pytest.fail("it was entered")
    with pytest.raises(OutOfOffice):
        await frozen.keep()
    assert not frozen.held
    assert not await state.waiting.hold("", 1.0), "what waits is the heir's to publish"
    await frozen.leave()
    assert await heir.confirm(), "who has lost it cannot leave it"
    theirs = InOffice(store(), heir)
    await theirs.connect()
    async with theirs.transaction() as tx:
        await theirs.write(tx, [Change("t", "k", b"2")], ())
    assert await state.open() == {"t": [("k", b"2")]}


@pytest.mark.parametrize("turns", range(1, 6))
async def test_a_transaction_that_is_cancelled_as_it_begins_leaves_none_open(
    store: Callable[[], SqliteStore], turns: int
):
    state = store()
    await state.connect()

    async def change() -> None:
        async with state.transaction():
            await asyncio.sleep(60)

    changing = asyncio.create_task(change())
    for _ in range(turns):
        await asyncio.sleep(0)
    changing.cancel()
    await asyncio.wait([changing])
    async with state.transaction() as tx:
        await state.write(tx, [Change("t", "k", b"1")], ())
    assert await state.open() == {"t": [("k", b"1")]}


async def test_one_that_gives_signs_keeps_it_and_one_that_leaves_hands_it_over_at_once(
    store: Callable[[], SqliteStore],
):
    active = Office(store(), 1.5)
    await active.take()
    keeping, waiting = asyncio.create_task(active.keep()), asyncio.create_task(Office(store(), 1.5).take())
    await asyncio.wait([waiting], timeout=2.5)
    assert not waiting.done()
    waiting.cancel()
    keeping.cancel()
    await asyncio.wait([waiting, keeping])
    await active.leave()
    next_one, last = Office(store(), LONG), Office(store(), LONG)
    await asyncio.wait_for(next_one.take(), 5)
    await next_one.leave()
    await asyncio.wait_for(last.take(), 5)
    assert last.term == 3
