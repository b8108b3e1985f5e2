"""What the console shows of a running bus without people, and what it does there."""

import asyncio
import io
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse
from mts1b_console.web.keys import Console
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import Alert, AlertSeverity, HaltObedience
from mts1b_foundation.orders import OrderType
from mts1b_foundation.samples import ORDER, ORDER_APPROVAL, QUOTE
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_DEADLETTERS_CREATED,
    OMS_HALT_OBEYED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CREATED,
    OPERATIONS_ALERTS_CLEARED,
    OPERATIONS_ALERTS_RAISED,
    RISK_GATE_PASSED,
)
from mts1b_operations.deadletters.notes import note
from mts1b_operations.halt import halts_in_force
from mts1b_platform.cli import run as run_command
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.observability.audit import search
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from pyarrow import parquet

from .conftest import Browser

_ORDER = ORDER.model_copy(update={"order_type": OrderType.MARKET, "limit_price": None})
WHY = "prices look wrong"


async def trade(bus: EventBus, connect_bus: ConnectBus) -> None:
    """An order that was accepted, and whose broker is away."""
    risk = await connect_bus("mts1b-riskengine")
    await bus.emit(OMS_ORDERS_CREATED, _ORDER)
    await risk.emit(RISK_GATE_PASSED, ORDER_APPROVAL.model_copy(update={"order_id": _ORDER.order_id}))
    await bus.emit(OMS_ORDERS_ACCEPTED, _ORDER.accept(_ORDER.created_at))
    brokers = await connect_bus("mts1b-brokers")
    consumer = brokers.consume(OMS_ORDERS_ACCEPTED, durable="broker-orders")
    await consumer.start()
    await consumer.stop()


async def dead_letter(bus: EventBus, payload: bytes = b"{}", error: str = "division by zero") -> DeadLetter:
    letter = DeadLetter.of_stored(
        subject="mts.v1.oms.orders.created", headers={"mts-schema": ORDER.schema_id()}, payload=payload,
        stream="OMS_ORDERS", sequence=1, stored_at=utc_now(), consumer="treasury", deliveries=5,
        reason=DeadLetterReason.MAX_DELIVERIES, error=error,
    )  # fmt: skip
    await bus.emit(OMS_DEADLETTERS_CREATED, letter)
    return letter


async def until(browser: Browser, path: str, good: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(20):
        while not good(found := await browser.get(path)):  # noqa: ASYNC110 - a page polls
            await asyncio.sleep(0.05)
        return found


async def test_me_says_that_nobody_is_asked_who_comes(browser: Browser):
    me = await browser.load()
    assert me["secured"] is False
    assert me["name"]
    assert "no authentication" in me["banner"]
    assert me["rights"]["acts"] == [">"]


async def test_now_is_the_state_of_the_desk(browser: Browser, bus: EventBus, connect_bus: ConnectBus):
    await trade(bus, connect_bus)
    await dead_letter(bus)
    # what the reader gave back when it stopped, the server has back a moment later
    now = await until(browser, "/api/now", lambda now: any(each["away"] for each in now["services"]["services"]))
    assert all(now[part]["unknown"] is None and now[part]["read_at"].endswith("Z") for part in now), now
    assert now["halts"]["halts"] == []
    assert (now["orders"]["open"], now["orders"]["orders"][0]["facts"]["status"]) == (1, "accepted")
    (behind,) = [each for each in now["consumers"]["consumers"] if each["consumer"] == "broker-orders"]
    assert (behind["messages"], behind["pulls"], behind["service"]) == (1, 0, "mts1b-brokers")
    away = {each["name"]: each["away"] for each in now["services"]["services"] if each["away"]}
    assert away == {"mts1b-brokers": ["OMS_ORDERS/broker-orders"]}
    orders = next(each for each in now["streams"]["streams"] if each["name"] == "OMS_ORDERS")
    assert (orders["messages"], orders["unread"], orders["declared"], orders["drift"]) == (2, 1, True, [])
    assert [(group["count"], group["error"]) for group in now["deadletters"]["groups"]] == [(1, "division by zero")]
    assert now["alerts"] == now["alerts"] | {"alerts": [], "watched": False}


async def test_the_story_of_an_order_names_who_owes_the_next_step(
    browser: Browser, bus: EventBus, connect_bus: ConnectBus
):
    await trade(bus, connect_bus)
    await asyncio.sleep(1.1)  # so long may a step take of which nobody is there to do it
    story = await browser.get(f"/api/order/{_ORDER.order_id}")
    assert story["order"] == story["order"] | {"status": "accepted", "fund": _ORDER.fund_id}
    assert [each["event"]["pattern"] for each in story["events"]] == [
        "mts.v1.oms.orders.created", "mts.v1.risk.gate.passed", "mts.v1.oms.orders.accepted",
    ]  # fmt: skip
    assert all("order_id" in each["linked_by"] for each in story["events"])
    (missing,) = story["missing"]
    assert (missing["by"], missing["kind"], missing["late"], missing["durable"]) == (
        "mts1b-brokers", "nobody_reads", True, "broker-orders",
    )  # fmt: skip
    assert (await browser.get("/api/order/none"))["events"] == []


async def test_a_stored_event_is_found_opened_and_exported(browser: Browser, bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, _ORDER)
    found = await browser.get("/api/events?q=subject%3Aoms.orders.created&limit=10")
    (row,) = found["events"]
    assert row["id"] == "OMS_ORDERS:1"
    assert (found["searched"]["complete"], found["cursor"]) == (True, None)
    opened = await browser.get("/api/events/OMS_ORDERS/1")
    assert opened["payload_text"] == _ORDER.model_dump_json()
    assert opened["model"]["properties"]["order_id"]
    assert opened["event"]["keys"]["order_id"] == _ORDER.order_id
    async with browser.http.get(f"{browser.address}/api/export?format=csv&q=subject%3Aoms.orders.created") as answer:
        assert "attachment" in answer.headers["Content-Disposition"]
        lines = (await answer.text()).splitlines()
    assert len(lines) == 2
    assert _ORDER.order_id in lines[1]


async def test_an_export_is_whole_or_refused(browser: Browser, bus: EventBus):
    for number in range(3):
        await bus.emit(OMS_ORDERS_CREATED, _ORDER.model_copy(update={"idempotency_key": f"key-{number}"}))
    query = "q=subject%3Aoms.orders.created"
    async with browser.http.get(f"{browser.address}/api/export?format=parquet&{query}") as answer:
        content = await answer.read()
    assert answer.content_type == "application/vnd.apache.parquet"
    table: Any = parquet.read_table(io.BytesIO(content))
    assert table.column("idempotency_key").to_pylist() == ["key-0", "key-1", "key-2"]
    async with browser.http.get(f"{browser.address}/api/export?format=jsonl&{query}") as answer:
        lines = (await answer.text()).splitlines()
    assert [json.loads(line)["payload"]["idempotency_key"] for line in lines] == ["key-0", "key-1", "key-2"]
    for several in ("format=parquet&q=", "format=csv&q=subject%3A%3E"):
        assert (await browser.get(f"/api/export?{several}", 400))["error"]["message"]


async def test_a_search_goes_on_where_it_stopped(browser: Browser, bus: EventBus):
    for number in range(5):
        await bus.emit(OMS_ORDERS_CREATED, _ORDER.model_copy(update={"idempotency_key": f"key-{number}"}))
    seen: list[str] = []
    cursor = ""
    for _ in range(5):
        found = await browser.get(f"/api/events?q=stream%3AOMS_ORDERS&limit=2&cursor={cursor}")
        seen += [each["id"] for each in found["events"]]
        if (cursor := found["cursor"]) is None:
            break
    assert seen == [f"OMS_ORDERS:{number}" for number in (5, 4, 3, 2, 1)]


async def test_a_cell_that_a_spreadsheet_would_execute_is_text(browser: Browser, bus: EventBus):
    evil = _ORDER.model_copy(update={"actor": "=cmd|' /C calc'!A0"})
    await bus.emit(OMS_ORDERS_CREATED, evil)
    async with browser.http.get(f"{browser.address}/api/export?format=csv&q=subject%3Aoms.orders.created") as answer:
        text = await answer.text()
    assert "'=cmd|" in text


async def test_a_halt_is_two_requests_and_shows_who_obeyed(browser: Browser, bus: EventBus, audit: Path):
    shown = await browser.post("/api/act/halt/request", {"preview": True, "fund": "alpha"})
    assert (shown["adds_risk"], shown["typed"]) == (False, "")
    assert "halts fund alpha" in shown["words"]
    request = {"request_id": uuid.uuid4().hex, "fund": "alpha", "reason": WHY}
    done = await browser.post("/api/act/halt/request", request)
    again = await browser.post("/api/act/halt/request", request)
    halt_id = done["result"]["halt"]["halt_id"]
    assert again["result"]["halt"]["halt_id"] == halt_id
    (halt,) = (await browser.get("/api/halts"))["halts"]
    assert (halt["halt_id"], halt["fund"], halt["reason"], halt["silent"]) == (halt_id, "alpha", WHY, ["mts1b-oms"])
    obedience = HaltObedience(halt_id=halt_id, service="mts1b-oms", canceled_orders=17, obeyed_at=utc_now())
    await bus.emit(OMS_HALT_OBEYED, obedience)
    (halt,) = (await until(browser, "/api/halts", lambda found: not found["halts"][0]["silent"]))["halts"]
    assert (halt["obeyed"][0]["service"], halt["obeyed"][0]["canceled_orders"]) == ("mts1b-oms", 17)
    assert halt["obeyed"][0]["after_ms"] > 0
    assert [each["reason"] for each in search(audit, action="halt.request")] == [WHY]


async def test_clearing_needs_the_digest_a_reason_and_the_typed_phrase(browser: Browser, bus: EventBus):
    request = {"request_id": uuid.uuid4().hex, "fund": "alpha", "reason": WHY}
    halt_id = (await browser.post("/api/act/halt/request", request))["result"]["halt"]["halt_id"]
    about = {"fund": "alpha", "halt_id": halt_id}
    shown = await browser.post("/api/act/halt/clear", {"preview": True, **about})
    assert (shown["adds_risk"], shown["typed"]) == (True, "resume alpha")
    good = {
        "request_id": uuid.uuid4().hex, "digest": shown["digest"], "reason": "prices were checked",
        "typed": "resume alpha", **about,
    }  # fmt: skip
    for change, status in (
        ({"typed": "resume all"}, 400),
        ({"typed": None}, 400),
        ({"reason": "short"}, 400),
        ({"digest": "0" * 32}, 409),
        ({"request_id": "short"}, 400),
        ({"halt_id": "halt-0"}, 404),
    ):
        await browser.post("/api/act/halt/clear", {**good, **change}, status)
    assert len(await halts_in_force(bus)) == 1
    await browser.post("/api/act/halt/clear", good)
    assert (await browser.get("/api/halts"))["halts"] == []


async def test_dead_letters_are_grouped_judged_discarded_and_restored(browser: Browser, bus: EventBus):
    good = await dead_letter(bus, _ORDER.model_dump_json().encode())
    for number in range(3):
        await dead_letter(bus, f"broken {number}".encode(), error=f"no order in {number}")
        await asyncio.sleep(0.002)
    found = await browser.get("/api/deadletters")
    assert [(group["count"], sum(group["trend"])) for group in found["groups"]] == [(3, 3), (1, 1)]
    (largest, _) = found["groups"]
    verdict = await browser.post("/api/deadletters/verdict", {"ids": largest["ids"]})
    assert (verdict["passes"], verdict["of"], verdict["refused"]["reason"]) == (0, 3, "schema_mismatch")
    opened = await browser.get(f"/api/deadletters/{good.dead_letter_id}")
    assert opened["payload_text"] == _ORDER.model_dump_json()
    narrowed = await browser.get(f"/api/deadletters?group={largest['key']}")
    assert {each["id"] for each in narrowed["letters"]} == set(largest["ids"])
    ids = largest["ids"]
    shown = await browser.post("/api/act/deadletters/discard", {"preview": True, "ids": ids})
    done = await browser.post(
        "/api/act/deadletters/discard",
        {
            "request_id": uuid.uuid4().hex, "digest": shown["digest"], "typed": "discard 3",
            "reason": "the producer was wrong", "ids": ids,
        },
    )  # fmt: skip
    assert len(done["result"]["done"]) == 3
    assert [group["count"] for group in (await browser.get("/api/deadletters"))["groups"]] == [1]
    assert {each["id"] for each in (await browser.get("/api/deadletters/discarded"))["letters"]} == set(ids)
    restored = await browser.post("/api/act/deadletters/restore", {"request_id": uuid.uuid4().hex, "ids": ids[:1]})
    assert [each["id"] for each in restored["result"]["done"]] == ids[:1]
    assert [group["count"] for group in (await browser.get("/api/deadletters"))["groups"]] == [1, 1]
    assert {each["id"] for each in (await browser.get("/api/deadletters/discarded"))["letters"]} == set(ids[1:])


async def test_a_note_on_a_group_is_seen_at_once_and_stays_for_letters_that_come_later(
    browser: Browser, bus: EventBus, connect_bus: ConnectBus
):
    operations = await connect_bus("mts1b-operations")
    first = await dead_letter(bus, error="no account 1")
    (group,) = (await browser.get("/api/deadletters"))["groups"]
    assert group["note"] is None
    asked = {"about": group["key"], "note": "venue X was down"}
    shown = await browser.post("/api/act/deadletters/note", {"preview": True, **asked})
    assert shown["command"] == f"mts1b deadletters note {group['key']} --note 'venue X was down'"
    await browser.post("/api/act/deadletters/note", {"request_id": uuid.uuid4().hex, **asked})
    await note(operations, first.dead_letter_id, text="and this one", actor="j.doe")  # somewhere else
    await dead_letter(bus, error="no account 2")
    found = await until(browser, "/api/deadletters", lambda found: found["groups"][0]["count"] == 2)
    assert found["groups"][0]["note"]["text"] == "venue X was down"
    assert [each["note"] and each["note"]["text"] for each in found["letters"]] == [None, "and this one"]
    opened = await browser.get(f"/api/deadletters/{first.dead_letter_id}")
    assert opened["letter"]["note"]["actor"] == "j.doe"
    await bus.plain_jetstream().delete_stream("DEADLETTERS_NOTES")
    found = await browser.get("/api/deadletters")
    assert (found["groups"][0]["count"], found["groups"][0]["note"]) == (2, None)
    assert found["notes_unknown"]["message"]


async def test_who_of_several_instances_is_active(browser: Browser, bus: EventBus, connect_bus: ConnectBus):
    await bus.emit(OMS_ORDERS_ACCEPTED, _ORDER.accept(_ORDER.created_at))  # the first message decides
    brokers = await connect_bus("mts1b-brokers")
    options: dict[str, Any] = {"durable": "broker-orders", "ordered_by": "order_id", "instances": "standby"}
    async with brokers.consume(OMS_ORDERS_ACCEPTED, **options):
        found = await until(browser, "/api/groups", lambda found: found["groups"] and found["groups"][0]["active"])
    (office,) = found["groups"]
    assert (office["stream"], office["durable"], office["key"]) == ("OMS_ORDERS", "broker-orders", None)
    assert office["since"]
    assert office["term"]


async def test_a_run_waits_after_the_first_goes_on_and_is_taken_back(
    browser: Browser, bus: EventBus, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
):
    letters = [await dead_letter(bus, error=f"bug {number}") for number in range(3)]
    ids = [letter.dead_letter_id for letter in letters]
    act, run = "/api/act/deadletters/discard", {"ids": ids, "run": True, "first": 1}
    shown = await browser.post(act, {"preview": True, **run})
    asked = {"request_id": uuid.uuid4().hex, "digest": shown["digest"], "reason": WHY, "typed": "discard 3", **run}
    begun = await browser.post(act, asked)
    assert (await browser.post(act, asked))["again"] is True
    run_id = begun["result"]["run_id"]

    def state(found: Any) -> Any:
        (only,) = found["runs"]
        return only["state"], only["at"], only["done"], only["failed"]

    await until(browser, "/api/deadletters/runs", lambda found: state(found) == ("waiting", 1, 1, 0))
    other = "/api/act/deadletters/requeue"
    refused = await browser.post(other, {"run_id": run_id, "order": "go-on"}, status=404)
    assert "there is no run" in refused["error"]["message"]
    assert (await browser.post(act, {"run_id": run_id, "order": "stop"}))["state"] == "stopped"
    assert (await browser.post(act, {"run_id": run_id, "order": "go-on"}))["state"] == "running"
    await until(browser, "/api/deadletters/runs", lambda found: state(found) == ("finished", 3, 3, 0))
    assert (await browser.get("/api/deadletters"))["groups"] == []
    finished = await browser.post(act, {"run_id": run_id, "order": "stop"}, status=409)
    assert "is finished" in finished["error"]["message"]
    undo = {"request_id": uuid.uuid4().hex, "undo": run_id, "run": True}
    await browser.post("/api/act/deadletters/restore", undo)
    both = ["finished", "finished"]
    await until(browser, "/api/deadletters/runs", lambda found: [each["state"] for each in found["runs"]] == both)
    found = await browser.get("/api/deadletters")
    assert {name for group in found["groups"] for name in group["ids"]} == set(ids)
    command = ["deadletters", "runs", "--json", "--servers", nats_server.url]
    assert await asyncio.to_thread(run_command, command) == 0
    runs = json.loads(capsys.readouterr().out)
    assert [(each["what"], each["of"], each["done"]) for each in runs] == [
        ("deadletters.restore", 3, 3), ("deadletters.discard", 3, 3)
    ]  # fmt: skip
    assert runs[1]["reason"] == WHY
    assert await asyncio.to_thread(run_command, command[:2] + command[3:]) == 0
    assert run_id in capsys.readouterr().out


async def test_an_alert_is_acknowledged_with_a_note(browser: Browser, connect_bus: ConnectBus):
    monitor = await connect_bus("mts1b-operations")
    alert = Alert(
        alert_id="slow-1", name="slow_consumer", target="OMS_ORDERS/broker-orders", severity=AlertSeverity.CRITICAL,
        value=41, threshold=30, unit="s", summary="41 s behind", raised_at=utc_now(),
    )  # fmt: skip
    await monitor.emit(OPERATIONS_ALERTS_RAISED, alert)
    (shown,) = (await browser.get("/api/alerts"))["alerts"]
    assert (shown["alert_id"], shown["severity"], shown["acknowledged"]) == ("slow-1", "critical", None)
    request = {"request_id": uuid.uuid4().hex, "alert_id": "slow-1", "note": "restarting the broker"}
    await browser.post("/api/act/alerts/acknowledge", request)
    (shown,) = (await browser.get("/api/alerts"))["alerts"]
    assert shown["acknowledged"]["note"] == "restarting the broker"
    await monitor.emit(OPERATIONS_ALERTS_CLEARED, alert.model_copy(update={"cleared_at": utc_now()}))
    found = await browser.get("/api/alerts")
    assert (found["alerts"], [each["alert_id"] for each in found["past"]]) == ([], ["slow-1"])
    await browser.post("/api/act/alerts/acknowledge", {**request, "request_id": uuid.uuid4().hex}, 404)


async def test_a_stream_that_is_made_again_is_read_anew(browser: Browser, bus: EventBus):
    for number in range(3):
        await bus.emit(OMS_ORDERS_CREATED, _ORDER.model_copy(update={"order_id": f"o-{number}"}), msg_id=f"m-{number}")
    assert len((await browser.get("/api/orders"))["orders"]) == 3
    await js_api(bus, "STREAM.DELETE.OMS_ORDERS")
    await apply_streams(bus)
    for number in range(3):
        await bus.emit(OMS_ORDERS_CREATED, _ORDER.model_copy(update={"order_id": f"p-{number}"}), msg_id=f"n-{number}")
    found = (await browser.get("/api/orders"))["orders"]
    assert {each["facts"]["order_id"] for each in found} == {"p-0", "p-1", "p-2"}


async def test_reading_only_offers_no_action(console: tuple[Console, str], browser: Browser):
    console[0].settings = console[0].settings.model_copy(update={"read_only": True})
    assert (await browser.load())["read_only"] is True
    answer = await browser.post("/api/act/halt/request", {"preview": True}, 403)
    assert answer["error"]["code"] == "read-only"


async def test_the_registry_and_the_palette(browser: Browser, bus: EventBus, connect_bus: ConnectBus):
    subjects = (await browser.get("/api/subjects?matching=oms.orders.%3E"))["subjects"]
    assert "mts.v1.oms.orders.created" in {each["pattern"] for each in subjects}
    assert all(each["streams"] == ["OMS_ORDERS"] for each in subjects)
    schema = await browser.get("/api/schemas/mts1b_foundation.orders.Order:v2")
    assert schema["against"] == "mts1b_foundation.orders.Order:v1"
    assert schema["changes"]
    await trade(bus, connect_bus)
    await browser.get("/api/now")
    hits = (await browser.get(f"/api/find?q={_ORDER.order_id[:6]}"))["hits"]
    assert _ORDER.order_id in {hit["title"] for hit in hits}
    (event, *_) = (await browser.get("/api/find?q=OMS_ORDERS:12"))["hits"]
    assert event["href"] == "/event/OMS_ORDERS/12"


async def frames(socket: ClientWebSocketResponse, good: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(20):
        while True:
            word = await socket.receive_json()
            if good(word):
                return word


async def test_a_tail_shows_what_passes_pauses_and_opens_a_row(browser: Browser, connect_bus: ConnectBus):
    marketdata = await connect_bus("mts1b-marketdata")
    async with browser.live() as socket:
        subjects = "marketdata.> mts.v1.*.quotes.* oms.fills.created"  # a quote is of two of them, and comes once
        await socket.send_json({"op": "watch", "id": 7, "subject": subjects, "mode": "all"})
        await frames(socket, lambda word: word["type"] == "frame")
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        frame = await frames(socket, lambda word: word.get("rows"))
        ((number, _, subject, summary, flags),) = frame["rows"]
        assert (frame["id"], number, flags) == (7, 1, 0)
        assert subject.startswith("marketdata.quotes.")
        assert QUOTE.symbol in summary
        await socket.send_json({"op": "open", "id": 7, "row": 1})
        opened = await frames(socket, lambda word: word["type"] == "opened")
        assert opened["event"]["payload_text"] == QUOTE.model_dump_json()
        await socket.send_json({"op": "pause", "id": 7})
        await frames(socket, lambda word: word.get("paused"))
        for _ in range(3):
            await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        await frames(socket, lambda word: word.get("behind") == 3)
        await socket.send_json({"op": "resume", "id": 7})
        frame = await frames(socket, lambda word: word.get("rows"))
        assert [row[0] for row in frame["rows"]] == [2, 3, 4]
        await socket.send_json({"op": "watch", "id": 7, "subject": "marketdata.>", "mode": "latest", "q": "price:("})
        trouble = await frames(socket, lambda word: word["type"] == "trouble")
        assert "cannot be understood" in trouble["problem"]["message"]


async def test_a_page_that_is_hidden_is_told_nothing_and_then_where_its_tail_stands(
    browser: Browser, connect_bus: ConnectBus
):
    marketdata = await connect_bus("mts1b-marketdata")
    async with browser.live() as seen, browser.live() as hidden:
        for socket in (seen, hidden):
            await socket.send_json({"op": "watch", "id": 1, "subject": "marketdata.>", "mode": "all"})
            await frames(socket, lambda word: word["type"] == "frame")
        await hidden.send_json({"op": "hidden", "hidden": True})
        await hidden.send_json({"op": "open", "id": 1, "row": 9})
        await frames(hidden, lambda word: word["type"] == "trouble")  # it has heard both words
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        await frames(seen, lambda word: word.get("rows"))
        await frames(seen, lambda word: word["type"] == "frame")  # a sign of life, a second later
        with pytest.raises(TimeoutError):
            await hidden.receive(timeout=0.1)
        await hidden.send_json({"op": "hidden", "hidden": False})
        assert [row[0] for row in (await hidden.receive_json())["rows"]] == [1]


async def test_tails_are_few_and_words_that_are_none_cost_nothing(browser: Browser):
    async with browser.live() as socket:
        for number in range(4):
            await socket.send_json({"op": "watch", "id": number, "subject": "oms.>"})
        await socket.send_json({"op": "watch", "id": 4, "subject": "oms.>"})
        trouble = await frames(socket, lambda word: word["type"] == "trouble")
        assert (trouble["id"], trouble["problem"]["code"]) == (4, "busy")
        for word in ("{}", '{"op":"delete"}', "[[[[", '{"op":"open","id":9,"row":1}', '{"op":"watch","id":-1}'):
            await socket.send_str(word)
            assert (await frames(socket, lambda word: word["type"] == "trouble"))["problem"]["message"]
        await socket.send_json({"op": "close", "id": 0})
        await socket.send_json({"op": "watch", "id": 4, "subject": "oms.>"})
        assert (await frames(socket, lambda word: word.get("id") == 4))["type"] == "frame"


async def test_a_server_that_is_away_is_unknown_and_never_zero(browser: Browser, nats_server: NatsServer):
    await browser.get("/api/now")
    nats_server.kill()
    now = await until(browser, "/api/now", lambda now: all(part["unknown"] for part in now.values()))
    assert all(part["unknown"]["message"] for part in now.values())
    assert now["halts"]["halts"] is None
    assert now["orders"]["open"] is None
    assert (await browser.get("/api/me"))["connected"] is False
