"""People at the console of a locked-down bus: each sees and does what the server lets the role, and nothing else."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from mts1b_console.settings import ConsoleSettings
from mts1b_console.web.app import serving
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.event import Event
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import NAV, ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_DEADLETTERS_CREATED, OMS_ORDERS_CREATED, TREASURY_NAV
from mts1b_operations.auth.roles import ROLES, Role
from mts1b_operations.history import seen
from mts1b_operations.people.asked import Declined
from mts1b_operations.people.asking import look, preview
from mts1b_operations.people.serve import acting, looking
from mts1b_platform.cli import run
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import LiveEvent
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.envelope import REQUEUES
from mts1b_platform.service import Service
from people import Gate

# nats-py 2.16 calls aiohttp in a way that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")

WHY = "prices look wrong"


class Page:
    """The console in one person's browser."""

    def __init__(self, http: aiohttp.ClientSession, address: str) -> None:
        self.http = http
        self.address = address
        self.me: dict[str, Any] = {}

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.http.get(f"{self.address}{path}") as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def until(self, path: str, good: Callable[[Any], object]) -> Any:
        """What is looked up is given to others for a second."""
        async with asyncio.timeout(20):
            while not good(found := await self.get(path)):  # noqa: ASYNC110 - a page polls
                await asyncio.sleep(0.05)
            return found

    async def post(self, path: str, body: object, status: int = 200) -> Any:
        headers = {"Origin": self.address, "X-CSRF": self.me.get("csrf") or ""}
        async with self.http.post(f"{self.address}{path}", json=body, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def halt(self, fund: str | None = None, status: int = 200) -> Any:
        request = {"request_id": uuid.uuid4().hex, "fund": fund, "reason": WHY}
        return await self.post("/api/act/halt/request", request, status)


class Consoles:
    """One console, and people at it."""

    def __init__(self, gate: Gate, address: str) -> None:
        self.gate = gate
        self.address = address

    @asynccontextmanager
    async def page(self, name: str = "", *roles: str, **options: Any) -> AsyncGenerator[Page]:
        """A browser; signed in when a name is given."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            page = Page(http, self.address)
            if name:
                token = self.gate.token(name, *roles, **options)
                for attempts_left in (
                    4,
                    3,
                    2,
                    1,
                    0,
                ):  # an answer of the responder that came too late is asked for again
                    async with http.post(
                        f"{self.address}/login", json={"token": token}, headers={"Origin": self.address}
                    ) as answer:
                        page.me = await answer.json()
                        if answer.status == 200 or not attempts_left:
                            assert answer.status == 200, page.me
                            break
            yield page


@pytest_asyncio.fixture
async def consoles(gate: Gate) -> AsyncIterator[Consoles]:
    config = gate.locked.conf.with_name("console.toml")
    config.write_text(f'profile = "single"\ntls_ca = "{gate.locked.pki.ca}"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTS1B_CONFIG", str(config))
        settings = ConsoleSettings(listen="127.0.0.1:0", bus=gate.locked.websocket_url)
        async with serving(settings, Settings.load()) as (_, address):
            yield Consoles(gate, address)


@pytest_asyncio.fixture
async def responders(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncExitStack]:
    """`mts1b look serve` and `mts1b act serve`, in this process."""
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    options: dict[str, Any] = {"servers": gate.locked.url, "config": gate.locked.empty_config()}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(looking(**options))
        await stack.enter_async_context(acting(**options))
        yield stack


async def test_nobody_gets_in_without_a_good_token(consoles: Consoles, caplog: pytest.LogCaptureFixture):
    async with consoles.page() as page:
        me = await page.get("/api/me")
        assert (me["secured"], me["name"], me["csrf"]) == (True, None, None)
        for token in ("", "x.y.z", consoles.gate.token("alice", "trader", lifetime=-60)):
            answer = await page.post("/login", {"token": token}, 401 if token else 400)
            assert token == "" or token not in str(answer) + caplog.text
        assert caplog.text.count("sign-in refused") == 2
        await page.get("/api/now", 401)
        await page.post("/api/act/halt/request", {}, 401)


async def test_each_role_sees_and_does_what_it_may(
    consoles: Consoles, responders: AsyncExitStack, caplog: pytest.LogCaptureFixture
):
    del responders
    oms, treasury = await consoles.gate.locked.bus("mts1b-oms"), await consoles.gate.locked.bus("mts1b-treasury")
    await oms.emit(OMS_ORDERS_CREATED, ORDER)
    await treasury.emit(TREASURY_NAV, NAV)
    known: dict[str, set[str]] = {
        "market": set(),
        "trader": {"halts", "orders"},
        "risk": {"alerts", "halts", "orders", "services", "streams", "consumers", "nav"},
        "operator": {"alerts", "halts", "orders", "services", "streams", "consumers", "deadletters"},
        "auditor": {"alerts", "halts", "orders", "services", "streams", "consumers", "deadletters", "nav"},
    }
    acts = {"market": False, "trader": True, "risk": True, "operator": True, "auditor": False}
    for role, wanted in known.items():
        async with consoles.page(f"p-{role}", role) as page:
            assert page.me["name"] == f"p-{role}"
            now = await page.get("/api/now")
            now["nav"] = await page.get("/api/nav")
            assert {name for name, part in now.items() if part["unknown"] is None} == wanted, role
            assert "may not publish" not in caplog.text, "what a role may not, the server is not asked every second"
            assert (await page.get("/api/events/TREASURY_NAV/1", 200 if "nav" in wanted else 403)) is not None
            rights = page.me["rights"]
            assert bool([each for each in rights["acts"] if each.startswith("halt")]) is acts[role]
            if not acts[role]:
                refused = await page.halt("alpha", 403)
                assert refused["error"]["code"] == "access-denied"
            caplog.clear()
    async with consoles.page("tina", "trader") as trader:
        await trader.halt("alpha")
        halts = await trader.get("/api/halts")
        assert halts["halts"][0]["actor"] == "tina"
        cleared = {"preview": True, "halt_id": halts["halts"][0]["halt_id"], "fund": "alpha"}
        assert (await trader.post("/api/act/halt/clear", cleared, 403))["error"]["code"] == "access-denied"


async def test_a_desk_halts_its_own_fund_and_no_other(consoles: Consoles, responders: AsyncExitStack):
    del responders
    consoles.gate.roles["desk-alpha"] = Role(
        "desk-alpha",
        ("mts.v1.oms.orders.*.fund.alpha",),
        looks=("halts.fund.alpha",),
        acts=("halt.request.fund.alpha",),
    )
    async with consoles.page("olga", "operator") as olga, consoles.page("dora", "desk-alpha") as dora:
        await olga.halt("beta")
        await dora.halt("beta", 403)
        await dora.halt(None, 403)
        await dora.halt("alpha")
        shown = await dora.until("/api/halts", lambda found: found["halts"])
        assert [(each["fund"], each["actor"]) for each in shown["halts"]] == [("alpha", "dora")]
        assert shown["funds"] == ["alpha"]
        assert len((await olga.get("/api/halts"))["halts"]) == 2


async def test_a_halt_works_while_nobody_answers_looks(
    consoles: Consoles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    gate = consoles.gate
    async with (
        acting(servers=gate.locked.url, config=gate.locked.empty_config()),
        consoles.page("olga", "operator") as olga,
    ):
        halted = await olga.halt()
        assert halted["by"] == "olga"
        now = await olga.get("/api/now")
        assert [each["halt_id"] for each in now["halts"]["halts"]] == [halted["result"]["halt"]["halt_id"]]
        assert now["consumers"]["unknown"]["code"] == "unanswered"
        assert now["consumers"]["consumers"] is None
        assert now["streams"]["streams"] is None


@pytest.mark.slow(seconds=6)
async def test_without_a_responder_nothing_is_done_and_that_is_said(consoles: Consoles):
    async with consoles.page("olga", "operator") as olga:
        refused = await olga.halt(status=503)
        assert "nothing was done" in refused["error"]["message"]


@pytest.mark.slow(seconds=6)
async def test_a_token_that_ends_ends_the_tail_and_the_session(consoles: Consoles):
    marketdata = await consoles.gate.locked.bus("mts1b-marketdata")
    async with consoles.page("alice", "trader", lifetime=5) as page:
        async with page.http.ws_connect(f"{page.address}/live", headers={"Origin": page.address}) as socket:
            await socket.send_json({"op": "hello", "csrf": page.me["csrf"]})
            await socket.send_json({"op": "watch", "id": 1, "subject": "marketdata.>", "mode": "all"})
            rows, ended = 0, None
            async with asyncio.timeout(60):
                while ended is None:
                    word = await socket.receive_json()
                    if word["type"] == "frame":
                        rows += len(word["rows"])
                        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
                    ended = word if word["type"] == "ended" else None
            assert rows > 0
            assert "the token of alice ended" in ended["problem"]["message"]
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert (await page.get("/api/now", 401))["error"]["code"] in ("session-ended", "signed-out")
        assert (await page.get("/api/me"))["name"] is None


async def test_signing_out_ends_the_connection_of_the_person(consoles: Consoles):
    async with consoles.page("alice", "trader") as page:
        cookies = {each.key: each.value for each in page.http.cookie_jar}
        await page.post("/logout", {})
        await page.get("/api/now", 401)
        async with page.http.get(f"{page.address}/api/now", cookies=cookies) as answer:
            assert answer.status == 401


async def test_two_people_at_one_console_are_two_people(consoles: Consoles, responders: AsyncExitStack):
    del responders
    async with consoles.page("olga", "operator") as olga, consoles.page("mia", "market") as mia:
        assert (await olga.get("/api/me"))["name"] == "olga"
        assert (await mia.get("/api/me"))["name"] == "mia"
        assert (await olga.get("/api/consumers"))["unknown"] is None
        assert (await mia.get("/api/consumers"))["unknown"]["code"] == "access-denied"
        mia.me["csrf"], own = olga.me["csrf"], mia.me["csrf"]
        await mia.post("/logout", {}, 403)
        mia.me["csrf"] = own


async def test_a_code_of_the_terminal_signs_in_once(
    consoles: Consoles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    token = consoles.gate.token("alice", "trader")
    (tmp_path / "token").write_text(token)
    monkeypatch.setenv("MTS1B_TOKEN_FILE", str(tmp_path / "token"))
    async with consoles.page() as page:
        words = ["console", "open", "--no-browser", "--url", page.address]
        assert await asyncio.to_thread(run, words) == 0
        place = capsys.readouterr().out.strip()
        assert token not in place
        code = place.removeprefix(f"{page.address}/#code=")
        headers = {"Origin": "http://evil.example"}
        async with page.http.post(f"{page.address}/handover", json={"token": token}, headers=headers) as answer:
            assert answer.status == 403
        page.me = await page.post("/login", {"code": code})
        assert page.me["name"] == "alice"
        await page.post("/login", {"code": code}, 401)


@pytest.mark.usefixtures("responders")
async def test_each_process_is_shown_with_what_it_handles_and_when_its_certificate_ends(consoles: Consoles):
    locked = consoles.gate.locked
    service = Service("mts1b-treasury", servers=locked.url, config=locked.empty_config(), connect_timeout=20)

    @service.listens(MARKETDATA_QUOTES)
    async def mark(event: LiveEvent[Quote]) -> None:
        pass

    serving = asyncio.create_task(service.serve())
    await service.started()
    async with consoles.page("olga", "operator") as olga, consoles.page("alice", "trader") as alice:
        found = await olga.until("/api/processes", lambda found: found["processes"])
        [treasury] = found["processes"]
        assert (treasury["service"], treasury["silent_since"]) == ("mts1b-treasury", None)
        assert [each["subject"] for each in treasury["handles"]] == [MARKETDATA_QUOTES.pattern]
        left = {each["of"]: each["days"] for each in found["certificates"]}
        assert left.keys() == {"nats-server", "mts1b-treasury"}
        assert all(29 < days < 31 for days in left.values()), left
        assert (await alice.get("/api/processes"))["unknown"]["code"] == "access-denied"
        service.stop()
        await serving
        silent = await olga.until("/api/processes", lambda found: found["processes"][0]["silent_since"])
        assert silent["processes"][0]["service"] == "mts1b-treasury"


async def test_a_sensitive_field_is_shown_to_who_may_see_it_and_to_nobody_else(
    consoles: Consoles,
    responders: AsyncExitStack,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    """Opened, found, exported, in a story, in a tail, in a dead letter; an order's price is marked here."""
    del responders
    trader = ROLES["trader"]
    subjects = (*trader.subjects, "mts.*.*.deadletters.>")
    looks, acts = (*trader.looks, "deadletters.>"), ("deadletters.>",)
    consoles.gate.roles["masked"] = Role("masked", subjects, looks=looks, acts=acts)
    consoles.gate.roles["seeing"] = Role("seeing", subjects, looks=(*looks, "sensitive"), acts=acts)

    def marked(payload: type[Event]) -> frozenset[str]:
        return frozenset({"limit_price"} if payload is Order else ())

    monkeypatch.setattr(seen, "sensitive_fields", marked)
    price = "71234.56"
    order = ORDER.model_copy(update={"limit_price": Decimal(price)})
    oms = await consoles.gate.locked.bus("mts1b-oms")
    await oms.emit(OMS_ORDERS_CREATED, order)
    stored = await read_stored(oms, "OMS_ORDERS", seq=1)
    assert stored is not None
    letter = DeadLetter.of_stored(
        subject=stored.wire.subject.decode(), headers=stored.wire.headers.readable() | {REQUEUES: "4"},
        payload=stored.wire.payload, stream="OMS_ORDERS", sequence=1, stored_at=stored.time, consumer="treasury",
        deliveries=1, reason=DeadLetterReason.REJECTED, error=f"no margin for {price}",
    )  # fmt: skip
    await oms.emit(OMS_DEADLETTERS_CREATED, letter)
    pages = (
        "/api/events/OMS_ORDERS/1", f"/api/order/{order.order_id}", "/api/orders", "/api/deadletters",
        f"/api/deadletters/{letter.dead_letter_id}", "/api/events?q=subject:oms.orders.created",
        "/api/export?format=jsonl&q=subject:oms.orders.created", "/api/export?format=csv&q=subject:oms.orders.created",
        "/api/events/DEADLETTERS/1",
    )  # fmt: skip
    for role, sees in (("masked", False), ("seeing", True)):
        async with consoles.page(f"p-{role}", role) as page:
            for path in pages:
                async with page.http.get(f"{page.address}{path}") as answer:
                    assert answer.status == 200, (path, await answer.text())
                    text = await answer.text()
                    assert (price in text) is sees, (role, path)
            groups = (await page.get("/api/deadletters"))["groups"]
            for query in (price, f"limit_price:{price}", "limit_price>70000"):
                found = await page.get(f"/api/events?q={query}")
                assert bool(found["events"]) is sees, (role, query)
            headers = {"Origin": page.address}
            async with page.http.ws_connect(f"{page.address}/live", headers=headers) as live, asyncio.timeout(30):
                await live.send_json({"op": "hello", "csrf": page.me["csrf"]})
                await live.send_json({"op": "watch", "id": 1, "subject": "oms.orders.created", "mode": "all"})
                while (await live.receive_json())["type"] != "frame":
                    pass
                await oms.emit(OMS_ORDERS_CREATED, order, msg_id=f"again-{role}")
                while not (frame := await live.receive_json()).get("rows"):
                    pass
                assert (price in str(frame)) is sees, frame
                await live.send_json({"op": "open", "id": 1, "row": 1})
                while (opened := await live.receive_json())["type"] != "opened":
                    pass
                assert (price in opened["event"]["payload_text"]) is sees
        (tmp_path / role).write_text(consoles.gate.token(f"p-{role}", role))
        monkeypatch.setenv("MTS1B_TOKEN_FILE", str(tmp_path / role))
        for words in (
            ("events", "get", "OMS_ORDERS", "1"), ("events", "find", "subject:oms.orders.created", "--json"),
            ("order", order.order_id, "--json"), ("deadletters", "ls"), ("deadletters", "show", letter.dead_letter_id),
            ("events", "export", "subject:oms.orders.created", f"{tmp_path}/{role}.jsonl"),
        ):  # fmt: skip
            code = await asyncio.to_thread(run, [*words, "--servers", consoles.gate.locked.websocket_url])
            text, trouble = capsys.readouterr()
            assert code in (0, 3), (words, trouble)
            if words[1] == "export":
                text = (tmp_path / f"{role}.jsonl").read_text()
            assert (price in text) is sees, (role, words, text)
        words = ("events", "find", price, "--json", "--servers", consoles.gate.locked.websocket_url)
        assert await asyncio.to_thread(run, words) == 0
        assert bool(json.loads(capsys.readouterr().out)["events"]) is sees
        # what responders answer is masked for everybody
        person = await consoles.gate.let_in(consoles.gate.token(f"p-{role}", role))
        (row,) = (await look(person, "deadletters"))["deadletters"]
        assert "masked" in row["error"]
        assert (await look(person, "deadletters", error=price))["deadletters"] == []
        (group,) = groups
        await preview(person, "deadletters.note", about=group["key"], note="known")
        with pytest.raises(Declined, match="failed each time: masked"):
            await preview(person, "deadletters.requeue", ids=[letter.dead_letter_id])
        words = (
            "deadletters",
            "requeue",
            "--error",
            price,
            "--dry-run",
            "--servers",
            consoles.gate.locked.websocket_url,
        )
        assert await asyncio.to_thread(run, words) == (1 if sees else 0), "it was requeued too often, if it is selected"
        assert ("nothing done" in capsys.readouterr().out) or sees
