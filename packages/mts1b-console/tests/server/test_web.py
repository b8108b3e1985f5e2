"""The web attacks, each refused; the headers of every answer."""

import re

import aiohttp
import pytest
from mts1b_console.web import api
from mts1b_console.web.keys import Console
from mts1b_foundation.samples import ORDER
from mts1b_platform.eventbus import EventBus

from .conftest import Browser

PATHS = [
    "/",
    "/halts",
    "/order/x%2F..%2Fy",
    "/static/index.html",
    "/static/none.js",
    "/api/none",
    "/api/me",
    "/api/now",
]
EVIL = "http://evil.example"


async def answer_of(browser: Browser, method: str, path: str, **options: object) -> aiohttp.ClientResponse:
    async with browser.http.request(method, f"{browser.address}{path}", **options) as answer:  # type: ignore[arg-type]
        await answer.read()
        return answer


def assert_headers(answer: aiohttp.ClientResponse) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe-" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "trusted-types 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Server"] == "mts1b"


async def test_every_answer_has_the_headers_whatever_it_says(browser: Browser):
    gets = [each.path for each in api.routes() if each.method == "GET"]
    paths = [path.replace("{value}", "x").replace("{stream}", "OMS_ORDERS").replace("{seq}", "1") for path in gets]
    for path in [*PATHS, *(each.replace("{id}", "x") for each in paths)]:
        assert_headers(await answer_of(browser, "GET", path))
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        answer = await answer_of(browser, method, "/api/now")
        assert answer.status == 405
        assert_headers(answer)
    assert_headers(await answer_of(browser, "POST", "/api/act/halt/request", json={}))
    async with browser.live() as socket:
        assert_headers(socket._response)


async def test_answers_are_not_kept_and_the_cookie_is_out_of_reach(browser: Browser):
    browser.http.cookie_jar.clear()
    answer = await answer_of(browser, "GET", "/api/me")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/api/act/halt/request", "/api/deadletters/verdict", "/logout"])
async def test_a_post_needs_origin_token_and_content_type(browser: Browser, path: str):
    good = {"Origin": browser.address, "X-CSRF": browser.csrf}
    for changes, status in (
        ({"Origin": EVIL}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"{browser.address}.evil.example"}, 403),
        ({"Origin": None}, 403),
        ({"X-CSRF": None}, 403),
        ({"X-CSRF": "x"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ):
        headers = {
            name: value for name, value in {**good, "Content-Type": "application/json", **changes}.items() if value
        }
        answer = await answer_of(browser, "POST", path, data=b"{}", headers=headers, skip_auto_headers=["Content-Type"])
        assert answer.status == status, (changes, await answer.text())
    assert (await browser.get("/api/halts"))["halts"] == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost.evil.example:1"])
async def test_another_host_is_refused_before_anything_is_done(browser: Browser, host: str):
    for path in ("/", "/api/me", "/api/now", "/static/app.js", "/live"):
        assert (await answer_of(browser, "GET", path, headers={"Host": host})).status == 421


async def test_reads_from_another_site_are_refused(browser: Browser):
    answer = await answer_of(browser, "GET", "/api/export?q=", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403
    assert (await answer_of(browser, "GET", "/api/halts", headers={"Sec-Fetch-Site": "same-origin"})).status == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await answer_of(browser, "GET", "/order/desk-1.2", headers=link)).status == 200
    assert (await answer_of(browser, "GET", "/api/halts", headers=link)).status == 403
    frame = link | {"Sec-Fetch-Dest": "iframe"}
    assert (await answer_of(browser, "GET", "/order/desk-1.2", headers=frame)).status == 403


async def test_a_websocket_of_another_site_or_without_the_token_gets_nothing(browser: Browser):
    for origin in (EVIL, "null", ""):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.http.ws_connect(f"{browser.address}/live", headers={"Origin": origin})
        assert refused.value.status == 403
    for word in ('{"op":"hello","csrf":"x"}', '{"op":"watch","id":1}', "[", "\x00"):
        async with browser.http.ws_connect(f"{browser.address}/live", headers={"Origin": browser.address}) as socket:
            await socket.send_str(word)
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 4403
    browser.http.cookie_jar.clear()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.http.ws_connect(f"{browser.address}/live", headers={"Origin": browser.address})
    assert refused.value.status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2fbundle.py",
        "/static/%2e%2e/bundle.py",
        "/static/../settings.py",
        "/static/%00",
        "/static//etc/passwd",
    ],
)
async def test_no_path_leads_out_of_the_program(browser: Browser, path: str):
    answer = await answer_of(browser, "GET", path)
    text = await answer.text()
    assert answer.status == 404 or text.startswith("<!doctype html>")
    assert "import" not in text or text.startswith("<!doctype html>")


async def test_nobody_signed_in_gets_nothing(browser: Browser):
    browser.http.cookie_jar.clear()
    for each in api.routes():
        if each.method == "GET" and "{" not in each.path and each.path != "/api/me":
            assert (await answer_of(browser, "GET", each.path)).status == 401
    answer = await answer_of(browser, "GET", "/api/now", cookies={"mts1b": "guess"})
    assert answer.status == 401


async def test_bad_input_is_answered_in_words(browser: Browser):
    for path, status in (
        ("/api/events/OMS_ORDERS/1e9", 400),
        ("/api/events/OMS_ORDERS/999999999999999999", 404),
        ("/api/events/NO.SUCH/1", 400),
        ("/api/events/NOSUCH/1", 404),
        ("/api/events?limit=-1", 400),
        ("/api/events?cursor=x", 400),
        ("/api/events?q=" + "x" * 4_001, 400),
        ("/api/deadletters/none", 404),
        ("/api/schemas/None:v1", 404),
        ("/api/subjects?matching=a..b", 400),
        ("/api/export?format=exe", 400),
        ("/api/export?format=csv&q=", 400),
        ("/api/events?from=never", 400),
        ("/api/none", 404),
    ):
        problem = (await browser.get(path, status))["error"]
        assert problem["message"], path
    for body in ([], {"unknown": 1}, {"ids": 3}, "x"):
        assert (await browser.post("/api/act/halt/request", body, 400))["error"]["code"] == "bad-request"
    large = await answer_of(
        browser, "POST", "/api/act/halt/request", data=b"x" * 300_000,
        headers={"Origin": browser.address, "X-CSRF": browser.csrf, "Content-Type": "application/json"},
    )  # fmt: skip
    assert large.status == 413


async def test_a_query_that_is_not_understood_says_where(browser: Browser):
    found = await browser.get("/api/events?q=price%3A%28")
    assert found["problems"]
    assert found["events"] is None


async def test_a_program_that_is_the_same_is_not_sent_again(browser: Browser, console: tuple[Console, str]):
    del console
    first = await answer_of(browser, "GET", "/")
    assert first.headers["Cache-Control"] == "no-cache"
    again = await answer_of(browser, "GET", "/", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304


async def test_a_program_comes_compressed_under_an_address_that_is_kept_for_good(browser: Browser):
    page = await answer_of(browser, "GET", "/")
    addresses: list[str] = re.findall(r'"(/static/[^"]+)"', await page.text())
    assert len(addresses) == 3
    for address in addresses:
        sizes: list[int] = []
        for accepted in ("gzip, br", "identity"):
            answer = await answer_of(browser, "GET", address, headers={"Accept-Encoding": accepted})
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert answer.headers.get("Content-Encoding") == ("gzip" if "gzip" in accepted else None)
            sizes.append(int(answer.headers["Content-Length"]))
        assert sizes[0] < sizes[1]
        other = await answer_of(browser, "GET", f"{address.partition('?')[0]}?0123456789abcdef")
        assert other.headers["Cache-Control"] == "no-cache"


async def test_hostile_and_huge_payloads_are_data(browser: Browser, bus: EventBus):
    evil = '<script>alert(1)</script>\u202e\u0000"'
    order = ORDER.model_copy(update={"actor": "a<b>"})
    for payload in (
        order.model_dump_json().encode(),
        evil.encode(),
        b"\xff\xfe" * 50,
        b'{"x":"' + b"y" * 900_000 + b'"}',
    ):
        await bus.request("mts.v1.oms.orders.rejected", payload, timeout=20, headers={"mts-actor": "<img src=x>"})
    rows = (await browser.get("/api/events?q=stream%3AOMS_ORDERS"))["events"]
    assert [bool(row["refused"]) for row in rows] == [True] * 4
    assert all(len(row["summary"]) <= 400 for row in rows)
    for seq, size in enumerate((len(order.model_dump_json()), len(evil.encode()), 100, 900_008), 1):
        answer = await answer_of(browser, "GET", f"/api/events/OMS_ORDERS/{seq}")
        assert answer.content_type == "application/json"
        opened = await answer.json()
        assert opened["event"]["size"] == size
        assert opened["truncated"] is (size > 256 * 1024)
        assert len(opened["payload_text"]) <= 256 * 1024
    assert (await browser.get("/api/events/OMS_ORDERS/2"))["payload_text"] == evil
    assert (await browser.get("/api/orders"))["orders"] == []
