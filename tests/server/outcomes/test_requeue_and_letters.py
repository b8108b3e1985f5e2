"""Every message can be a dead letter, and every dead letter can be requeued."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.samples import NAV
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, TREASURY_NAV, encode_token
from mts1b_foundation.treasury import NavSnapshot
from mts1b_platform.eventbus import Event, Reject
from mts1b_platform.eventbus.dedupe.kv import BUCKET, KvDedupe
from outcome_readers import SURFACES, reading
from outcome_world import DURABLE, STREAM, World, header_block, names, order

MTS1B = Path(sys.executable).with_name("mts1b")


async def mts1b(*words: str) -> tuple[int, str]:
    """Exit code and all that the command says."""
    process = await asyncio.create_subprocess_exec(
        MTS1B, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def refuse(_: Event[Any]) -> None:
    raise Reject("never")


def large(fund: str) -> NavSnapshot:
    """A valid event of some 850 kB: it fits into a message, and as base64 it does not."""
    position = NAV.positions[0]
    return NAV.model_copy(
        update={"fund_id": fund, "positions": (position,) * (850_000 // len(position.model_dump_json()))}
    )


async def test_what_came_in_an_atomic_batch_is_requeued(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    await world.bus.emit_many(OMS_ORDERS_CREATED, [order(0), order(1)], atomic=True)
    async with reading(world, "consume", refuse):
        assert await world.settled(within=20)
    assert len(await world.letters()) == 2
    code, said = await mts1b("deadletters", "requeue", "--all", "--servers", world.server.url)
    assert code == 0, said
    async with reading(world, "consume") as reader:
        assert await world.settled(within=20)
    assert sorted(reader.handled) == names(0, 1)


async def test_an_event_that_is_dead_in_two_durables_is_requeued_for_everybody_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    await world.emit(0)
    for durable in ("books", "risk"):
        async with reading(world, "consume", refuse, durable=durable):
            assert await world.settled(durable, within=20)
    await mts1b("deadletters", "requeue", "--all", "--to", "subject", "--servers", world.server.url)
    async with reading(world, "consume", durable="other") as other:
        assert await world.settled("other", within=20)
    assert other.handled == names(0, 0)


async def test_requeued_is_said_of_what_is_stored_only(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    await world.emit(0)
    async with reading(world, "consume", refuse):
        assert await world.settled(within=20)
    said = 0
    for _ in range(2):
        code, words = await mts1b("deadletters", "requeue", "--all", "--keep", "--servers", world.server.url)
        said += code == 0 and "requeued" in words
    stored = (await world.js.stream_info(STREAM)).state.messages
    assert stored == 1 + said


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_large_event_becomes_a_dead_letter(surface: str, world: World):
    treasury = await world.connect("mts1b-treasury")
    await treasury.emit(TREASURY_NAV, large("alpha"))
    await treasury.emit(TREASURY_NAV, NAV.model_copy(update={"sequence": 2}))
    handled: list[int] = []

    async def work(event: Event[NavSnapshot]) -> None:
        if len(event.payload.positions) > 1:
            raise Reject("too many positions")
        handled.append(event.seq)

    async with reading(world, surface, work, subject=TREASURY_NAV, speaks_as="mts1b-treasury"):
        assert await world.settled(stream="TREASURY_NAV")
    [letter] = await world.letters()
    assert (letter.reason.value, letter.sequence, handled) == ("rejected", 1, [2])


@pytest.mark.parametrize("surface", [*SURFACES, "raw"])
async def test_large_garbage_becomes_a_dead_letter(surface: str, world: World):
    await world.publish(b"mts.v1.oms.orders.created", header_block({"x": "y"}), b"x" * 900_000)
    await world.emit(0)
    async with reading(world, surface) as reader:
        assert await world.settled()
    assert [letter.sequence for letter in await world.letters()] == [1]
    assert reader.handled == names(0)


@pytest.mark.parametrize(
    ("surface", "durable"),
    [*((surface, "büro") for surface in (*SURFACES, "raw")), ("consume", "b" * 220)],
    ids=[*SURFACES, "raw", "too long"],
)
async def test_a_durable_whose_dead_letters_cannot_be_stored_is_refused(surface: str, durable: str, world: World):
    try:
        async with reading(world, surface, durable=durable) as reader:
            await world.comes(lambda: reader.failure is not None)
            refused = reader.failure
    except Mts1bError as error:
        refused = error
    assert isinstance(refused, Mts1bError)
    assert [consumer.name for consumer in await world.js.consumers_info(STREAM)] == []


GARBAGE = (b"\xff\x00", b"[]", b'"done"', b'{"state": "done"}', b"null")


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_mark_that_is_none_costs_its_own_event_only(surface: str, world: World):
    """Whether that event was handled nobody knows: it is not handled again, and not lost."""
    await KvDedupe(world.bus).open()
    marks = await world.js.key_value(BUCKET)
    for number, garbage in enumerate(GARBAGE):
        await marks.put(f"{DURABLE}.{encode_token(f'{OMS_ORDERS_CREATED.pattern}|intent-{number}')}", garbage)
    await world.emit(*range(len(GARBAGE) + 1))
    async with reading(world, surface, store=KvDedupe(world.bus)) as reader:
        assert await world.settled(within=20), repr(reader.failure)
    assert reader.handled == names(len(GARBAGE))
    letters = await world.letters()
    assert len(letters) == len(GARBAGE)
    assert all("something else than a mark" in each.error and "delete the key" in each.error for each in letters)


async def test_garbage_among_the_dead_letters_is_in_nobodys_way(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Others may write there: what is no letter is named, and the rest is listed, requeued, added to."""
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    for garbage in (b"", *GARBAGE):
        await world.js.publish("mts.v1.oms.deadletters.created", garbage)
    await world.emit(0)
    async with reading(world, "consume", refuse):
        assert await world.settled(within=20)
    code, said = await mts1b("deadletters", "ls", "--servers", world.server.url)
    assert code == 1, said
    assert "Traceback" not in said
    assert "OMS_ORDERS" in said
    code, said = await mts1b("deadletters", "requeue", "--all", "--servers", world.server.url)
    assert "Traceback" not in said
    async with reading(world, "consume") as reader:
        assert await reader.has_handled(1)
