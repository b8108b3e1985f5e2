"""Consumers and streams changed by hand: shown first, never by mistake, never a declared one unasked."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_operations import consumers_by_hand
from mts1b_platform import by_hand as flow
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, StreamDefinition, apply_streams
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.observability.audit import search
from mts1b_platform.server import NatsServer

Command = Callable[..., Awaitable[tuple[int, str, str]]]
OLD = StreamDefinition(name="OLD", subjects=("mts.v1.oms.old.*",), description="Nobody's.")
DONE = ("--reason", "a test", "--confirm")


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    return tmp_path / "audit"


@pytest.fixture
def command(nats_server: NatsServer, capsys: pytest.CaptureFixture[str]) -> Command:
    async def call(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(run, [*words, "--servers", nats_server.url])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


async def orders(bus: EventBus, number: int) -> None:
    await bus.emit_many(
        OMS_ORDERS_FILLED, [ORDER.model_copy(update={"idempotency_key": f"k{each}"}) for each in range(number)]
    )


async def read(bus: EventBus, number: int) -> list[int]:
    found: list[int] = []
    async with bus.consume(OMS_ORDERS_FILLED, durable="books") as events:
        for _ in range(number):
            async with await anext(events) as event:
                found.append(event.seq)
    return found


async def info(bus: EventBus, stream: str = "OMS_ORDERS", name: str = "books") -> dict[str, Any]:
    return await js_api(bus, f"CONSUMER.INFO.{stream}.{name}")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.02)


async def read_by(bus: EventBus, *, somebody: bool) -> None:
    """Wait until the server has seen pulls of ``books``, or their end."""

    async def condition() -> bool:
        return bool((await info(bus))["num_waiting"]) == somebody

    await until(condition)


async def read_to_the_end(bus: EventBus) -> None:
    """Wait until nobody pulls from ``books``, and every ack has arrived: one that is late would move it on again."""
    await read_by(bus, somebody=False)

    async def condition() -> bool:
        return not (await info(bus))["num_ack_pending"]

    await until(condition)


async def test_a_stream_that_nobody_declares_is_shown_confirmed_recorded_purged_and_removed(
    bus: EventBus, command: Command, audit: Path
):
    await apply_streams(bus, streams=[OLD])
    for number in range(3):
        await bus.publish(f"mts.v1.oms.old.{number}", b"{}")
    await bus.flush()

    async def held() -> int | None:
        names = (await js_api(bus, "STREAM.NAMES"))["streams"]
        return (await js_api(bus, "STREAM.INFO.OLD"))["state"]["messages"] if "OLD" in names else None

    async def stored() -> bool:
        return await held() == 3

    await until(stored)
    code, out, _ = await command("streams", "purge", "OLD", "--subject", "mts.v1.oms.old.1", "--dry-run")
    assert (code, await held()) == (0, 3)
    assert "deletes 1 messages on mts.v1.oms.old.1" in out
    for missing in ((), ("--reason", "a test"), ("--reason", " ", "--confirm", "OLD"), (*DONE, "old")):
        code, _, err = await command("streams", "purge", "OLD", *missing)
        assert (code, await held()) == (1, 3)
        assert "nothing was done" in err
    assert list(search(audit)) == []
    assert (await command("streams", "purge", "OLD", "--subject", "mts.v1.oms.old.1", *DONE, "OLD"))[0] == 0
    assert await held() == 2
    code, out, _ = await command("streams", "rm", "OLD", *DONE, "OLD", "--json")
    assert (code, await held()) == (0, None)
    assert json.loads(out)["done"]
    records = list(search(audit, kind="action"))
    assert [(each["action"], each["target"], each["reason"]) for each in records] == [
        ("streams purge", "OLD", "a test"),
        ("streams rm", "OLD", "a test"),
    ]
    for gone in ("OLD", "A.B", "*"):
        code, _, err = await command("streams", "rm", gone, *DONE, gone)
        assert code == 1
        assert f"there is no stream {gone!r}" in err


async def test_what_is_stored_after_the_look_stays_and_a_stream_that_goes_on_is_not_removed(bus: EventBus):
    from mts1b_platform.commands import _streams_by_hand as hand

    await orders(bus, 2)
    wanted = declared()
    purge, removal = (
        await hand.look_at_purge(bus, "OMS_ORDERS", wanted),
        await hand.look_at_removal(bus, "OMS_ORDERS", wanted),
    )
    await bus.emit(OMS_ORDERS_FILLED, ORDER.model_copy(update={"idempotency_key": "late"}))
    await hand.purge(bus, purge)
    assert (await js_api(bus, "STREAM.INFO.OMS_ORDERS"))["state"]["messages"] == 1
    choices = flow.Choices(
        reason="x", confirm="OMS_ORDERS", declared=True, dry_run=False, actor=None, servers=None, as_json=False
    )
    with pytest.raises(flow.NotDone, match="has changed since it was shown"):
        await flow._do(bus, removal, lambda b: hand.look_at_removal(b, "OMS_ORDERS", wanted), hand.remove, choices)


async def test_a_declared_stream_and_durable_are_changed_only_when_that_is_said(
    bus: EventBus, command: Command, monkeypatch: pytest.MonkeyPatch
):
    await orders(bus, 1)
    code, out, err = await command("streams", "purge", "OMS_ORDERS", *DONE, "OMS_ORDERS")
    assert code == 1
    assert "declared by mts1b-platform" in out
    assert "with --declared it is done all the same" in err
    assert (await js_api(bus, "STREAM.INFO.OMS_ORDERS"))["state"]["messages"] == 1
    code, _, err = await command("streams", "purge", "OMS_ORDERS", "--declared", *DONE, "OMS_ORDERS")
    assert code == 0
    assert "no audit log is configured" in err
    assert (await js_api(bus, "STREAM.INFO.OMS_ORDERS"))["state"]["messages"] == 0
    await read_nothing(bus)

    def declarer(*_: str) -> str:
        return "mts1b-treasury"

    monkeypatch.setattr(consumers_by_hand, "declarer", declarer)
    code, _, err = await command("consumers", "rm", "OMS_ORDERS", "books", *DONE, "OMS_ORDERS/books")
    assert code == 1
    assert "is declared by mts1b-treasury" in err
    assert await info(bus)


async def read_nothing(bus: EventBus) -> None:
    async with bus.consume(OMS_ORDERS_FILLED, durable="books") as events:
        await events.start()


async def test_a_consumer_is_reset_backwards_and_forwards_and_refused_while_somebody_reads(
    bus: EventBus, command: Command, audit: Path
):
    await orders(bus, 5)
    middle = datetime.now(UTC)
    assert await read(bus, 5) == [1, 2, 3, 4, 5]
    async with bus.consume(OMS_ORDERS_FILLED, durable="books") as events:
        await events.start()
        await read_by(bus, somebody=True)
        code, _, err = await command("consumers", "reset", "OMS_ORDERS", "books", "--to", "first", "--dry-run")
        assert code == 1
        assert "is being read" in err
    await read_to_the_end(bus)
    reset = ("consumers", "reset", "OMS_ORDERS", "books", *DONE, "OMS_ORDERS/books", "--to")
    code, out, _ = await command(*reset, "3")
    assert code == 0
    assert "delivers what lies between sequence 3 and 5 once more" in out
    assert await read(bus, 3) == [3, 4, 5]
    await read_to_the_end(bus)
    assert (await command(*reset, "first"))[0] == 0
    code, out, _ = await command(*reset, middle.isoformat())
    assert code == 0
    assert "skips what lies between sequence 1 and 5" in out
    await bus.emit(OMS_ORDERS_FILLED, ORDER.model_copy(update={"idempotency_key": "late"}))
    assert await read(bus, 1) == [6]
    await read_to_the_end(bus)
    for wrong, code in (("9", 1), ("yesterday", 2), ("2026-01-01T00:00:00", 2)):
        assert (await command(*reset, wrong))[0] == code
    assert [each["seq"] for each in search(audit, kind="action")] == [3, 1, 6]


async def test_a_consumer_is_shown_paused_resumed_and_removed(bus: EventBus, command: Command):
    await orders(bus, 2)
    assert await read(bus, 1) == [1]
    await read_by(bus, somebody=False)
    path = ("OMS_ORDERS", "books")
    shown = json.loads((await command("consumers", "show", *path, "--json"))[1])
    assert (shown["ack_floor_seq"], shown["filters"], shown["declared_for"]) == (
        1, ["mts.v1.oms.orders.filled", "mts.v1.oms.orders.filled.fund.*"], None,
    )  # fmt: skip
    assert "lag seconds" in (await command("consumers", "show", *path))[1]
    assert (await command("consumers", "resume", *path, *DONE, "OMS_ORDERS/books"))[0] == 1
    assert (await command("consumers", "pause", *path, "--for", "1h", *DONE, "OMS_ORDERS/books"))[0] == 0
    assert (await info(bus))["paused"]
    assert (await command("consumers", "resume", *path, *DONE, "OMS_ORDERS/books"))[0] == 0
    assert not (await info(bus)).get("paused")
    assert await read(bus, 1) == [2]
    code, out, _ = await command("consumers", "rm", *path, *DONE, "OMS_ORDERS/books")
    assert code == 0
    assert "forgets what it has read: up to sequence 2 of OMS_ORDERS" in out
    for verb in ("show", "rm"):
        code, _, err = await command("consumers", verb, *path)
        assert code == 1
        assert "there is no consumer 'books'" in err
