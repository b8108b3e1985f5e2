"""What the dead-letter tools promise: look, requeue without doubling or looping, discard, all of it audited."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.fills import Fill
from mts1b_foundation.samples import FILL, ORDER
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED, OPERATIONS_DEADLETTERS_CREATED
from mts1b_operations.deadletters import (
    Advisory,
    DeadLetterError,
    Mover,
    Selection,
    discard,
    grouped,
    letters,
    requeue,
)
from mts1b_operations.deadletters.letters import Letter
from mts1b_platform.cli import run
from mts1b_platform.eventbus import Event, EventBus, Reject, RetryPolicy, apply_streams
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.observability.audit import search
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from nats.js import api

PATIENCE = 60
"""Seconds to wait for what comes at once unless the machine stands still."""
ONCE = RetryPolicy(max_deliveries=1)


@pytest.fixture
async def operations(connect_bus: ConnectBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventBus:
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    made = await connect_bus("mts1b-operations")
    await apply_streams(made)
    return made


@pytest.fixture
async def oms(operations: EventBus, connect_bus: ConnectBus) -> EventBus:  # noqa: ARG001 - its streams are needed
    return await connect_bus("mts1b-oms")


@pytest.fixture
async def treasury(operations: EventBus, connect_bus: ConnectBus) -> EventBus:  # noqa: ARG001 - the same
    return await connect_bus("mts1b-treasury")


def short(found: Letter) -> str:
    """The id without the storing time."""
    return found.id.rpartition(":")[0]


def fill(number: int) -> Fill:
    return FILL.model_copy(update={"fill_id": f"fill-{number}"})


async def next_of(bus: EventBus, durable: str, seconds: float = PATIENCE) -> Event[Any]:
    consumer = bus.consume(OMS_FILLS_CREATED, durable=durable, policy=ONCE)
    async with consumer:
        event = await asyncio.wait_for(anext(consumer), seconds)
        async with event:
            pass
    return event


async def fail(bus: EventBus, *errors: str, durable: str = "treasury") -> None:
    """Have the durable give up on the next events, each with its error."""
    async with bus.consume(OMS_FILLS_CREATED, durable=durable, policy=ONCE) as events:
        for error in errors:
            event = await asyncio.wait_for(anext(events), PATIENCE)
            async with event:
                raise ValueError(error)


async def test_dead_letters_are_listed_and_selected(operations: EventBus, oms: EventBus, treasury: EventBus):
    for number in range(3):
        await oms.emit(OMS_FILLS_CREATED, fill(number))
    await fail(treasury, "no account 17", "no account 18", "division by zero")
    found = await letters(operations)
    assert [short(one) for one in found] == [f"OMS_FILLS:{seq}:treasury" for seq in (1, 2, 3)]
    assert Fill.model_validate_json(found[0].letter.payload) == fill(0)
    some = await letters(operations, Selection(error="account"))
    assert [short(one) for one in some] == ["OMS_FILLS:1:treasury", "OMS_FILLS:2:treasury"]
    assert [one.seq for one in await letters(operations, Selection(ids=("3", "OMS_FILLS:1:treasury")))] == [1, 3]
    for none in (Selection(consumer="x"), Selection(stream="x"), Selection(reason="rejected"), Selection(subject="x")):
        assert await letters(operations, none) == []


async def test_one_bug_is_one_group_whatever_numbers_its_errors_hold(
    operations: EventBus, oms: EventBus, treasury: EventBus
):
    for number in range(3):
        await oms.emit(OMS_FILLS_CREATED, fill(number))
    await fail(treasury, "no account 17", "no account 18", "division by zero")
    groups = grouped(await letters(operations))
    assert [(group.count, group.consumer, group.error) for group in groups] == [
        (2, "treasury", "no account …"),
        (1, "treasury", "division by zero"),
    ]
    assert groups[0].example.startswith("OMS_FILLS:2:treasury:")


async def test_a_note_is_written_in_a_terminal_and_shown_with_the_letters(
    operations: EventBus, oms: EventBus, treasury: EventBus, nats_server: NatsServer, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    for number in range(3):
        await oms.emit(OMS_FILLS_CREATED, fill(number))
    await fail(treasury, "no account 17", "no account 18", "division by zero")
    group = grouped(await letters(operations))[0].key

    async def command(*words: str) -> str:
        code = await asyncio.to_thread(run, ["deadletters", *words, "--servers", nats_server.url])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    await command("note", group, "--note", "venue X was down", "--actor", "j.doe")
    await command("note", "2", "--note", "this one \x1b[31mtoo", "--actor", "olga")
    rows = json.loads(await command("ls", "--json"))
    known = [row["note"] and row["note"].partition(": ")[2] for row in rows]
    assert known == ["venue X was down", "this one \\x1b[31mtoo", None]
    assert rows[0]["note"].startswith("j.doe, 2")
    assert "note            olga, 2" in await command("show", "2")
    found = json.loads(await command("stats", "--json"))
    assert [(row["group"] == group, bool(row["note"])) for row in found] == [(True, True), (False, False)]
    await command("note", group, "--note", "")
    assert [bool(row["note"]) for row in json.loads(await command("ls", "--json"))] == [False, True, False]
    written = search(tmp_path / "audit", action="deadletters.note")
    assert [each["actor"] for each in written][:2] == ["j.doe", "olga"]
    await operations.plain_jetstream().delete_stream("DEADLETTERS_NOTES")
    assert [row["note"] for row in json.loads(await command("ls", "--json"))] == [None] * 3


async def test_a_requeue_for_the_consumer_reaches_it_and_no_other(
    operations: EventBus, oms: EventBus, treasury: EventBus
):
    await oms.emit(OMS_FILLS_CREATED, fill(1))
    assert (await next_of(treasury, "books")).payload == fill(1)
    await fail(treasury, "boom")
    [letter] = await letters(operations)
    outcome = await requeue(operations, letter, to="consumer", actor="me")
    assert outcome.action == "requeued"
    again = await next_of(treasury, "treasury")
    assert again.payload == fill(1)
    assert await letters(operations) == []
    await oms.emit(OMS_FILLS_CREATED, fill(2))
    assert (await next_of(treasury, "books")).payload == fill(2), "the other durable never saw the requeued one"


async def test_a_requeue_to_the_subject_reaches_everybody(operations: EventBus, oms: EventBus, treasury: EventBus):
    await oms.emit(OMS_FILLS_CREATED, fill(1))
    await next_of(treasury, "books")
    await fail(treasury, "boom")
    [letter] = await letters(operations)
    await requeue(operations, letter, to="subject", actor="me")
    assert (await next_of(treasury, "treasury")).payload == fill(1)
    assert (await next_of(treasury, "books")).payload == fill(1)


async def test_a_requeued_event_has_a_new_id_and_the_old_identity(
    operations: EventBus, oms: EventBus, treasury: EventBus
):
    first = await oms.emit(OMS_FILLS_CREATED, fill(1), trace_id="ab" * 16)
    await fail(treasury, "boom")
    [letter] = await letters(operations)
    await requeue(operations, letter, to="consumer", actor="me")
    again = await next_of(treasury, "treasury")
    assert again.msg_id != first.msg_id
    assert again.identity == f"{OMS_FILLS_CREATED.pattern}|{first.msg_id}"
    assert again.trace_id == "ab" * 16
    assert again.source == "mts1b-oms"


async def test_who_had_handled_it_does_not_handle_it_again(operations: EventBus, oms: EventBus, treasury: EventBus):
    store, handled = KvDedupe(treasury), list[str]()

    async def handle(durable: str, *, then_fail: bool) -> None:
        async with treasury.consume(OMS_ORDERS_CREATED, durable=durable, policy=ONCE) as events:
            event = await asyncio.wait_for(anext(events), PATIENCE)
            async with event:
                async with event.once(store):
                    handled.append(durable)
                if then_fail:
                    raise Reject("after its effect")

    await oms.emit(OMS_ORDERS_CREATED, ORDER)
    await handle("treasury", then_fail=True)
    [letter] = await letters(operations)
    await requeue(operations, letter, to="subject", actor="me")
    await handle("treasury", then_fail=False)
    assert handled == ["treasury"]
    assert sum(treasury.counters.deduplicated.values()) == 1


async def test_requeuing_twice_because_the_command_was_killed_stores_one(
    operations: EventBus, oms: EventBus, treasury: EventBus
):
    await oms.emit(OMS_FILLS_CREATED, fill(1))
    await fail(treasury, "boom")
    [letter] = await letters(operations)
    for _ in range(2):
        await requeue(operations, letter, to="subject", actor="me")
    assert (await operations.jetstream().stream_info("OMS_FILLS")).state.messages == 2


async def test_what_fails_again_and_again_is_not_requeued_for_ever(
    operations: EventBus, oms: EventBus, treasury: EventBus
):
    await oms.emit(OMS_FILLS_CREATED, fill(1))
    await fail(treasury, "boom")
    for count in range(3):
        [letter] = await letters(operations)
        assert letter.requeues == count
        await requeue(operations, letter, to="consumer", actor="me")
        await fail(treasury, "boom")
    [letter] = await letters(operations)
    with pytest.raises(DeadLetterError, match=r"requeued 3 times and failed each time: boom.*discard"):
        await requeue(operations, letter, to="consumer", actor="me")
    assert await letters(operations) == [letter]
    await requeue(operations, letter, to="consumer", actor="me", force=True)
    assert await letters(operations) == []


async def test_a_message_that_would_be_refused_again_for_sure_is_not_requeued(operations: EventBus):
    letter = DeadLetter(
        dead_letter_id="X:1:y",
        reason=DeadLetterReason.UNEXPECTED_SUBJECT,
        subject="mts.v1.nobody.knows.this",
        headers={},
        payload=b"\xff",
        stream="X",
        sequence=1,
        consumer="y",
        deliveries=1,
        error="?",
        stored_at=FILL.executed_at,
        failed_at=FILL.executed_at,
    )
    await operations.emit(OPERATIONS_DEADLETTERS_CREATED, letter)
    [found] = await letters(operations)
    with pytest.raises(DeadLetterError, match="no registered subject"):
        await requeue(operations, found, to="subject", actor="me")
    with pytest.raises(DeadLetterError, match=r"was not stored again.*the dead letter stays"):
        await requeue(operations, found, to="subject", actor="me", force=True)
    assert await letters(operations) == [found]


async def test_a_dry_run_does_nothing(operations: EventBus, oms: EventBus, treasury: EventBus, tmp_path: Path):
    await oms.emit(OMS_FILLS_CREATED, fill(1))
    await fail(treasury, "boom")
    [letter] = await letters(operations)
    assert (await requeue(operations, letter, to="consumer", actor="me", dry_run=True)).action == "would requeue"
    assert (await discard(operations, letter, actor="me", reason="r", dry_run=True)).action == "would discard"
    assert await letters(operations) == [letter]
    assert (await operations.jetstream().stream_info("OMS_FILLS")).state.messages == 1
    assert [record for record in search(tmp_path / "audit") if record["kind"] == "action"] == []


async def test_every_action_is_audited(operations: EventBus, oms: EventBus, treasury: EventBus, tmp_path: Path):
    for number in range(2):
        await oms.emit(OMS_FILLS_CREATED, fill(number))
    await fail(treasury, "boom", "bang")
    first, second = await letters(operations)
    await requeue(operations, first, to="consumer", actor="ann")
    await discard(operations, second, actor="bob", reason="booked by hand")
    assert await letters(operations) == []
    requeued, stored, discarded = [r for r in search(tmp_path / "audit") if r["kind"] == "action"]
    assert (stored["action"], stored["stored"]) == ("deadletters.requeued", "OMS_FILLS:3")
    assert (requeued["action"], requeued["actor"], requeued["dead_letter_id"], requeued["to"]) == (
        "deadletters.requeue",
        "ann",
        first.id,
        "consumer",
    )
    assert (discarded["action"], discarded["actor"], discarded["why"]) == (
        "deadletters.discard",
        "bob",
        "booked by hand",
    )


async def test_the_command_line(
    operations: EventBus, oms: EventBus, treasury: EventBus, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
):
    for number in range(3):
        await oms.emit(OMS_FILLS_CREATED, fill(number))
    await fail(treasury, "no account 17", "no account 18", "division by zero")

    async def mts1b(*words: str) -> tuple[int, Any]:
        code = await asyncio.to_thread(run, ["deadletters", *words, "--servers", nats_server.url, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else err

    code, rows = await mts1b("ls", "--consumer", "treasury")
    assert (code, [row["number"] for row in rows]) == (0, [1, 2, 3])
    code, document = await mts1b("show", "OMS_FILLS:3:treasury")
    assert document["payload"]["fill_id"] == "fill-2"
    assert "ValueError: division by zero" in document["traceback"]
    code, groups = await mts1b("stats")
    assert [(group["count"], group["error"]) for group in groups] == [(2, "no account …"), (1, "division by zero")]
    code, done = await mts1b("requeue", "--error", "account", "--dry-run")
    assert (code, [row["action"] for row in done]) == (0, ["would requeue"] * 2)
    code, done = await mts1b("requeue", "--error", "account", "--actor", "ann")
    assert (code, [row["action"] for row in done]) == (0, ["requeued"] * 2)
    code, done = await mts1b("discard", "3", "--why", "booked by hand")
    assert (code, done[0]["action"]) == (0, "discarded")
    assert await letters(operations) == []
    for words in (
        ["show", "nothing"],
        ["requeue"],
        ["requeue", "--all", "--to", "moon"],
        ["discard", "9", "--why", "x"],
    ):
        code, _ = await mts1b(*words)
        assert code == 1, words


# The mover.


async def raw_consumer(bus: EventBus, name: str, **options: Any) -> Any:
    """A pull consumer as foreign code makes it: the server counts deliveries."""
    config = api.ConsumerConfig(
        durable_name=name,
        ack_policy=api.AckPolicy.EXPLICIT,
        filter_subject="mts.v1.oms.fills.created.fund.*",
        **options,
    )
    return await bus.plain_jetstream().pull_subscribe("mts.v1.oms.fills.created.fund.*", name, "OMS_FILLS", config)


async def moved(mover: Mover, operations: EventBus, count: int) -> list[Any]:
    task = asyncio.create_task(mover.run())
    async with asyncio.timeout(PATIENCE):
        while len(found := await letters(operations)) < count:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.02)
    mover.stop()
    await task
    return found


async def test_what_the_server_gave_up_on_becomes_a_dead_letter(operations: EventBus, oms: EventBus):
    mover = Mover(operations)
    await mover.prepare()
    await oms.emit(OMS_FILLS_CREATED, fill(1), trace_id="cd" * 16)
    raw = await raw_consumer(oms, "foreign", max_deliver=2)
    for _ in range(2):
        [msg] = await raw.fetch(1, timeout=PATIENCE)
        await msg.nak()
    with pytest.raises(TimeoutError):
        await raw.fetch(1, timeout=0.3)
    [found] = await moved(mover, operations, 1)
    assert short(found) == "OMS_FILLS:1:foreign"
    assert found.letter.reason is DeadLetterReason.MAX_DELIVERIES
    assert found.letter.deliveries == 2
    assert Fill.model_validate_json(found.letter.payload) == fill(1)
    assert found.letter.headers["mts-trace-id"] == "cd" * 16
    assert mover.moved == 1


async def test_what_a_foreign_reader_terminated_becomes_a_dead_letter(operations: EventBus, oms: EventBus):
    mover = Mover(operations)
    await mover.prepare()
    await oms.emit(OMS_FILLS_CREATED, fill(1))
    raw = await raw_consumer(oms, "foreign")
    [msg] = await raw.fetch(1, timeout=PATIENCE)
    await oms.publish(msg.reply, b"+TERM cannot book this")
    [found] = await moved(mover, operations, 1)
    assert (found.letter.reason, found.letter.error) == (
        DeadLetterReason.REJECTED,
        "terminated by its reader: cannot book this",
    )


async def test_a_failure_that_the_wrapper_and_the_mover_both_see_is_stored_once(
    operations: EventBus, oms: EventBus, treasury: EventBus
):
    mover = Mover(operations)
    await mover.prepare()
    await oms.publish("mts.v1.oms.fills.created.fund.alpha", b"{}")  # no envelope: the wrapper terminates it
    consumer = treasury.consume(OMS_FILLS_CREATED, durable="treasury")
    async with consumer:
        reading = asyncio.create_task(anext(consumer))
        running = asyncio.create_task(mover.run())
        async with asyncio.timeout(PATIENCE):
            while not mover.known:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.02)
        mover.stop()
        await running
        reading.cancel()
    [found] = await letters(operations)
    assert found.letter.reason is DeadLetterReason.SCHEMA_MISMATCH
    assert "has no mts-schema header" in found.letter.error, "the wrapper's words, as it came first"


async def test_two_movers_and_advisories_of_before_they_ran_make_one_dead_letter_each(
    operations: EventBus, oms: EventBus
):
    await Mover(operations).prepare()
    raw = await raw_consumer(oms, "foreign")
    for number in range(10):
        await oms.emit(OMS_FILLS_CREATED, fill(number))
    for msg in await raw.fetch(10, timeout=PATIENCE):
        await msg.term()
    second = Mover(operations)
    running = asyncio.create_task(second.run())
    found = await moved(Mover(operations), operations, 10)
    second.stop()
    await running
    assert sorted(short(one) for one in found) == sorted(f"OMS_FILLS:{seq}:foreign" for seq in range(1, 11))


async def test_a_message_that_is_gone_is_reported_and_does_not_hold_up_the_next(operations: EventBus, oms: EventBus):
    mover = Mover(operations)
    await mover.prepare()
    raw = await raw_consumer(oms, "foreign")
    for number in (1, 2):
        await oms.emit(OMS_FILLS_CREATED, fill(number))
    for msg in await raw.fetch(2, timeout=PATIENCE):
        await msg.term()
    await oms.flush()
    await operations.jetstream().delete_msg("OMS_FILLS", 1)
    [found] = await moved(mover, operations, 1)
    assert short(found) == "OMS_FILLS:2:foreign"
    assert mover.gone == 1


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"type":"x.terminated","stream":1}', b"\xff"])
def test_what_is_no_advisory_is_refused(data: bytes):
    with pytest.raises(ValueError, match="no advisory"):
        Advisory.parse(data)
