"""Each dead letter has one end: whoever is killed where, whoever acts beside, however long ago it was begun."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.fills import Fill
from mts1b_foundation.samples import DEAD_LETTER, FILL
from mts1b_foundation.subjects import (
    OMS_DEADLETTERS_CREATED,
    OMS_FILLS_CREATED,
    OPERATIONS_DEADLETTERS_CREATED,
    encode_token,
)
from mts1b_operations.deadletters import DeadLetterError, discard, letters, requeue, restore
from mts1b_operations.deadletters.advisories import nameable
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, Reject, apply_streams
from mts1b_platform.eventbus.dedupe.kv import BUCKET, KvDedupe
from mts1b_platform.eventbus.streams import STREAMS
from mts1b_platform.observability.audit import search
from mts1b_platform.server import NatsServer
from mts1b_platform.service.requeue import carried
from mts1b_platform.testing.bus import ConnectBus

WAIT = 60.0
WINDOW = 0.1
"""Seconds for which the streams recognise what is published twice."""
REQUEUE = import_module("mts1b_operations.deadletters.requeue")


class Killed(BaseException):
    """As when the process ends: nothing after it runs."""


@pytest.fixture
async def operations(connect_bus: ConnectBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventBus:
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    made = await connect_bus("mts1b-operations")
    # the window is over before anybody can do it again
    await apply_streams(made, streams=[replace(each, duplicate_window=f"{WINDOW * 1000:g}ms") for each in STREAMS])
    return made


async def dead(connect: ConnectBus, *durables: str) -> None:
    """Have these durables reject one fill."""
    oms, treasury = await connect("mts1b-oms"), await connect("mts1b-treasury")
    await oms.emit(OMS_FILLS_CREATED, FILL)
    for durable in durables:
        async with treasury.consume(OMS_FILLS_CREATED, durable=durable) as events:
            event = await asyncio.wait_for(anext(events), WAIT)
            async with event:
                raise Reject("never")


async def stored(bus: EventBus) -> int:
    return (await bus.jetstream().stream_info("OMS_FILLS")).state.messages


def ends(audit: Path) -> list[str]:
    return [record["action"] for record in search(audit) if record["kind"] == "action"]


@contextmanager
def killed_in(step: str, *, after: bool) -> Generator[None]:
    """Inside the block the process ends as this step of a requeue begins, or when it is done."""
    original: Callable[..., Awaitable[Any]] = getattr(REQUEUE, step)

    async def ends_here(*arguments: Any, **named: Any) -> Any:
        if after:
            await original(*arguments, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(REQUEUE, step, ends_here)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize("to", ["consumer", "subject"])
@pytest.mark.parametrize(
    ("step", "after"),
    [("_publish", False), ("publish_again", False), ("publish_again", True), ("delete", False), ("delete", True)],
    ids=["begun", "before storing", "stored", "before removing", "removed"],
)
async def test_a_requeue_that_is_killed_and_done_again_acts_once(
    operations: EventBus, connect_bus: ConnectBus, step: str, after: bool, to: Any
):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    with killed_in(step, after=after):
        await requeue(operations, letter, to=to, actor="ann")
    await asyncio.sleep(2 * WINDOW)  # nothing tells that the window is over
    outcome = await requeue(operations, letter, to=to, actor="bob")
    assert outcome.action in ("requeued", "requeued before")
    assert await letters(operations) == []
    assert await stored(operations) == 2


async def test_a_letter_that_is_being_requeued_is_not_discarded(operations: EventBus, connect_bus: ConnectBus):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    with killed_in("publish_again", after=True):
        await requeue(operations, letter, to="consumer", actor="ann")
    with pytest.raises(DeadLetterError, match=r"requeue for treasury by ann, begun .* not finished"):
        await discard(operations, letter, actor="bob", reason="booked by hand")
    with pytest.raises(DeadLetterError, match="requeue for treasury by ann"):
        await requeue(operations, letter, to="subject", actor="bob")
    assert (await requeue(operations, letter, to="consumer", actor="bob")).action == "requeued"
    assert await stored(operations) == 2


async def test_what_is_discarded_can_be_restored_and_is_a_dead_letter_as_before(
    operations: EventBus, connect_bus: ConnectBus, tmp_path: Path
):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    with pytest.raises(DeadLetterError, match="was not discarded within the last week"):
        await restore(operations, letter.id, actor="ann")
    for turn in range(2):  # within the windows in which an id is remembered
        [found] = await letters(operations)
        await discard(operations, found, actor="bob", reason="booked by hand")
        assert await letters(operations) == []
        restored = await restore(operations, letter.id, actor="ann")
        assert restored.action == "restored", turn
        assert [found.letter for found in await letters(operations)] == [letter.letter]
        assert (await restore(operations, letter.id, actor="ann")).action == "restored before"
    [again] = await letters(operations)
    assert (await requeue(operations, again, to="consumer", actor="ann")).action == "requeued"
    with pytest.raises(DeadLetterError, match="is dealt with: requeue for treasury by ann"):
        await restore(operations, letter.id, actor="ann")
    assert ends(tmp_path / "audit") == [
        *("deadletters.discard", "deadletters.restore", "deadletters.restored") * 2,
        "deadletters.requeue",
        "deadletters.requeued",
    ]


@pytest.mark.parametrize("after", [False, True], ids=["before storing", "stored"])
async def test_a_restore_that_is_killed_and_done_again_acts_once(
    operations: EventBus, connect_bus: ConnectBus, after: bool
):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    await discard(operations, letter, actor="bob", reason="booked by hand")
    emit: Callable[..., Awaitable[Any]] = EventBus.emit

    async def dies(*arguments: Any, **named: Any) -> Any:
        if after:
            await emit(*arguments, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventBus, "emit", dies)
        with pytest.raises(Killed):
            await restore(operations, letter.id, actor="ann")
    assert (await restore(operations, letter.id, actor="bob")).action == "restored"
    assert [found.letter for found in await letters(operations)] == [letter.letter]


@pytest.mark.parametrize("other", ["another letter", "garbage"])
async def test_nothing_but_the_letter_itself_is_restored_when_the_stream_was_made_again(
    operations: EventBus, connect_bus: ConnectBus, other: str
):
    await dead(connect_bus, "treasury", "books")
    first, second = await letters(operations)
    await discard(operations, first, actor="bob", reason="booked by hand")
    await operations.plain_jetstream().delete_stream("DEADLETTERS_DISCARDED")
    await apply_streams(operations)
    if other == "garbage":
        await operations.jetstream().publish("mts.v1.operations.deadletters.discarded", b"no letter")
    else:
        await discard(operations, second, actor="bob", reason="booked by hand")
    with pytest.raises(DeadLetterError, match="is not among the letters discarded within the last week"):
        await restore(operations, first.id, actor="ann")


async def test_a_letter_that_cannot_be_kept_is_not_discarded(operations: EventBus, connect_bus: ConnectBus):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    await operations.plain_jetstream().delete_stream("DEADLETTERS_DISCARDED")
    with pytest.raises(DeadLetterError, match="cannot be kept for a week, so it is not discarded: "):
        await discard(operations, letter, actor="bob", reason="booked by hand")
    assert await letters(operations) == [letter]
    assert (await requeue(operations, letter, to="consumer", actor="ann")).action == "requeued"


async def test_requeue_and_discard_side_by_side_have_one_end(
    operations: EventBus, connect_bus: ConnectBus, tmp_path: Path
):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    done = await asyncio.gather(
        requeue(operations, letter, to="consumer", actor="ann"),
        discard(operations, letter, actor="bob", reason="booked by hand"),
        return_exceptions=True,
    )
    assert sum(isinstance(each, DeadLetterError) for each in done) == 1, done
    assert await letters(operations) == []
    requeued = not isinstance(done[0], BaseException)
    assert await stored(operations) == 1 + requeued
    expected = ["deadletters.requeue", "deadletters.requeued"] if requeued else ["deadletters.discard"]
    assert ends(tmp_path / "audit") == expected


async def test_two_operators_who_requeue_side_by_side_requeue_once(operations: EventBus, connect_bus: ConnectBus):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    both = await asyncio.gather(
        *(requeue(operations, letter, to="consumer", actor=actor) for actor in ("ann", "bob")), return_exceptions=True
    )
    assert any(not isinstance(each, BaseException) for each in both), both
    assert await stored(operations) == 2
    assert await letters(operations) == []


async def test_what_was_done_before_is_not_done_to_a_letter_read_earlier(operations: EventBus, connect_bus: ConnectBus):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    await discard(operations, letter, actor="ann", reason="booked by hand")
    with pytest.raises(DeadLetterError, match="discard by ann, done"):
        await requeue(operations, letter, to="consumer", actor="bob")
    assert (await discard(operations, letter, actor="bob", reason="again")).action == "discarded before"
    assert await stored(operations) == 1


@pytest.mark.parametrize("to", ["consumer", "subject"])
async def test_a_letter_that_is_kept_is_requeued_as_often_as_it_is_said(
    operations: EventBus, connect_bus: ConnectBus, to: Any
):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    for times in (1, 2, 3):
        await requeue(operations, letter, to=to, actor="ann", keep=True)
        assert await stored(operations) == 1 + times
    await discard(operations, letter, actor="ann", reason="enough")
    assert await letters(operations) == []


async def test_an_event_dead_in_two_durables_is_requeued_for_everyone_once_though_the_first_is_killed(
    operations: EventBus, connect_bus: ConnectBus
):
    await dead(connect_bus, "treasury", "books")
    first, second = await letters(operations)
    with killed_in("delete", after=False):
        await requeue(operations, first, to="subject", actor="ann")
    await asyncio.sleep(2 * WINDOW)  # nothing tells that the window is over
    for letter in (second, first):
        assert (await requeue(operations, letter, to="subject", actor="bob")).action == "requeued"
    assert await stored(operations) == 2
    assert await letters(operations) == []


async def test_what_no_stream_takes_may_be_discarded(operations: EventBus):
    letter = DEAD_LETTER.model_copy(update={"subject": "mts.v1.nobody.knows.this"})
    await operations.emit(OPERATIONS_DEADLETTERS_CREATED, letter)
    [found] = await letters(operations)
    with pytest.raises(DeadLetterError, match="the dead letter stays"):
        await requeue(operations, found, to="subject", actor="ann", force=True)
    assert (await discard(operations, found, actor="ann", reason="nobody reads it")).action == "discarded"


async def test_a_shortened_letter_is_requeued_from_its_original_or_says_that_it_is_gone(
    operations: EventBus, connect_bus: ConnectBus
):
    large = FILL.model_copy(update={"fill_id": "f" * 150})
    payload = large.model_dump_json().encode() + b" " * 850_000
    oms, treasury = await connect_bus("mts1b-oms"), await connect_bus("mts1b-treasury")
    subject = OMS_FILLS_CREATED.format(large)
    headers = {"mts-schema": Fill.schema_id(), "mts-source-repo": "mts1b-oms", "x-desk": "7"}
    for number in range(2):
        await oms.jetstream().publish(subject, payload, headers=headers | {"Nats-Msg-Id": f"large-{number}"})
    async with treasury.consume(OMS_FILLS_CREATED, durable="treasury") as events:
        for _ in range(2):
            async with await asyncio.wait_for(anext(events), WAIT):
                raise Reject("never")
    first, second = await letters(operations)
    assert first.letter.original_size is not None
    assert first.letter.original_size > 850_000
    assert payload.startswith(first.letter.payload)
    await requeue(operations, first, to="consumer", actor="ann")
    again = await oms.jetstream().get_msg("OMS_FILLS", 3)
    assert again.data == payload
    assert (again.headers or {})["x-desk"] == "7"
    await oms.jetstream().delete_msg("OMS_FILLS", 2)
    with pytest.raises(DeadLetterError, match="does not hold the original under 2 any more"):
        await requeue(operations, second, to="consumer", actor="ann")
    assert (await discard(operations, second, actor="ann", reason="gone")).action == "discarded"


@pytest.mark.parametrize("part", ["payload", "headers", "error"])
def test_whatever_is_large_about_a_letter_it_fits(part: str):
    parts: dict[str, Any] = {"payload": b"", "headers": {}, "error": "x"}
    parts |= {
        "payload": {"payload": b"\x00" * 900_000},
        "headers": {"headers": {"a": "ü\x01" * 200_000, "mts-schema": "s"}},
        "error": {"error": "\x01" * 900_000},
    }[part]
    letter = DeadLetter.of_stored(
        subject="s",
        stream="S",
        sequence=1,
        stored_at=DEAD_LETTER.stored_at,
        consumer="c",
        deliveries=1,
        reason=DeadLetterReason.REJECTED,
        **parts,
    )
    short = letter.fitted(500_000)
    assert len(short.model_dump_json()) <= 500_000
    assert short.original_size == len(parts["payload"]) + sum(len(n) + len(v) for n, v in parts["headers"].items())
    assert short.dead_letter_id == letter.dead_letter_id
    assert letter.fitted(20_000_000) is letter


def test_only_what_belongs_to_the_event_is_carried_over():
    headers = {
        "Nats-Msg-Id": "id",
        "nats-expected-last-sequence": "3",
        "Nats-Batch-Id": "b",
        "Nats-Rollup": "all",
        "mts-schema": "s",
        "MTS-Trace-Id": "t",
        "mts-only-durable": "books",
        "mts-requeues": "2",
        "mts-original-size": "9",
        "x-desk": "7",
        "(unreadable)": "…",
    }
    assert carried(headers) == {"mts-schema": "s", "MTS-Trace-Id": "t", "x-desk": "7", "mts-original-msg-id": "id"}


@pytest.mark.parametrize("name", ["b" * 255, "büro", "ü" * 200, "a b"])
def test_the_name_of_a_foreign_consumer_fits_into_a_letter(name: str):
    held = nameable(name)
    assert held.isascii()
    assert " " not in held
    assert len(held) <= 130
    assert nameable("treasury") == "treasury"


async def test_all_of_many_large_letters_are_listed_and_discarded(
    operations: EventBus, connect_bus: ConnectBus, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
):
    oms = await connect_bus("mts1b-oms")
    for number in range(60):
        letter = DEAD_LETTER.model_copy(
            update={"dead_letter_id": f"OMS_FILLS:{number}:x:000000", "payload": b"x" * 400_000}
        )
        await oms.emit(OMS_DEADLETTERS_CREATED, letter)
    await operations.jetstream().publish("mts.v1.operations.deadletters.created", b"no letter")
    servers = ("--servers", nats_server.url)
    assert await asyncio.to_thread(run, ["deadletters", "ls", *servers]) == 1
    said = capsys.readouterr()
    assert said.out.count("OMS_FILLS:") == 60
    assert "1 messages among the dead letters are none" in said.err
    assert await asyncio.to_thread(run, ["deadletters", "discard", "--all", "--why", "x", *servers]) == 1
    assert await letters(operations) == []


@pytest.mark.parametrize("garbage", [b"\xff\x00", b"[]", b'{"what": 1}', b"null"])
async def test_a_record_that_is_none_is_named_and_once_it_is_deleted_the_letter_is_requeued(
    operations: EventBus, connect_bus: ConnectBus, garbage: bytes
):
    await dead(connect_bus, "treasury")
    [letter] = await letters(operations)
    key = f"deadletter-mover.{encode_token(letter.id)}"
    await KvDedupe(operations).open()
    bucket = await operations.jetstream(timeout=WAIT).key_value(BUCKET)
    await bucket.put(key, garbage)
    with pytest.raises(DeadLetterError, match=r"holds something else than a record.*delete the key"):
        await requeue(operations, letter, to="consumer", actor="ann")
    with pytest.raises(DeadLetterError, match="holds something else than a record"):
        await discard(operations, letter, actor="ann", reason="booked by hand")
    await bucket.delete(key)
    async with asyncio.timeout(WAIT):
        await requeue(operations, letter, to="consumer", actor="ann")
    assert await stored(operations) == 2
