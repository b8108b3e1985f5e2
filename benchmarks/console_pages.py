"""What the console's pages cost in Debian's Chromium: first paint, a flood, the halt dialog, large things.

Frames are the browser's own; the age of an event is from when it was published until the row that shows it is drawn,
by the clock of this machine, looked at in every frame.
"""

import asyncio
import json
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import TimeoutError as NothingCame

__all__ = ["NothingCame", "chromium", "event", "first_paint", "flooded", "large_payload", "table"]

_STAGE = Path(__file__).parents[1] / "packages/mts1b-console/tests/browser"
_LARGE_STAGE = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[1])
from aiohttp import web
from stage import Stage, playing
body = pathlib.Path(sys.argv[2]).read_bytes()
class Large(Stage):
    asked_before = False
    async def _get(self, request):
        if request.match_info["what"] != "orders":
            return await super()._get(request)
        if self.asked_before:
            await asyncio.sleep(3600)  # only the first answer is measured
        self.asked_before = True
        return web.Response(body=body, content_type="application/json")
async def main():
    async with playing(Large()) as address:
        print(address, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
_ROWS = 100_000
_WATCH = """seconds => new Promise(done => {
    const ages = [], long = [], heap = [];
    let frames = 0;
    const watch = new PerformanceObserver(list => long.push(...list.getEntries().map(each => each.duration)));
    watch.observe({ type: 'longtask' });
    gc(); heap.push(performance.memory.usedJSHeapSize);
    const began = performance.now();
    const look = () => {
        frames += 1;
        const said = / (1\\d{12})/.exec(document.querySelector('.tailrow .summary')?.textContent ?? '');
        if (said) ages.push(Date.now() - Number(said[1]));
        if (performance.now() - began < seconds * 1000) return requestAnimationFrame(look);
        watch.disconnect();
        gc(); heap.push(performance.memory.usedJSHeapSize);
        ages.sort((one, other) => one - other);
        const passed = (performance.now() - began) / 1000;
        done({ frames: frames / passed, p50: ages[ages.length >> 1], p99: ages[Math.floor(ages.length * 0.99)],
               heap: (heap[1] - heap[0]) / 1e6, long: long.length, longest: Math.max(0, ...long) });
    };
    requestAnimationFrame(look);
})"""
_UNTIL = """([keys, found]) => new Promise(done => {
    const began = performance.now();
    const look = () => document.querySelector(found) ? requestAnimationFrame(() => done(performance.now() - began))
                                                     : requestAnimationFrame(look);
    dispatchEvent(new KeyboardEvent('keydown', { key: keys, code: 'Key' + keys, shiftKey: true, bubbles: true }));
    look();
})"""
_GO = """([path, found]) => new Promise(done => {
    const began = performance.now();
    const look = () => document.querySelector(found) ? requestAnimationFrame(() => done(performance.now() - began))
                                                     : requestAnimationFrame(look);
    history.pushState(null, '', path); dispatchEvent(new PopStateEvent('popstate'));
    look();
})"""
_SCROLL = """() => new Promise(done => {
    const box = document.querySelector('.scroll.fill'), began = performance.now();
    let frames = 0;
    const next = () => {
        frames += 1; box.scrollTop += 400;
        const passed = performance.now() - began;
        passed < 3000 ? requestAnimationFrame(next) : done(frames / passed * 1000);
    };
    requestAnimationFrame(next);
})"""


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """A browser."""
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("Chromium is needed: apt-get install chromium")
    async with async_playwright() as playwright:
        options = ["--no-sandbox", "--js-flags=--expose-gc", "--enable-precise-memory-info"]
        browser = await playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            await browser.close()


async def opened(browser: Browser, address: str, path: str) -> Page:
    """A page with an empty cache."""
    page = await (await browser.new_context(viewport={"width": 1440, "height": 900})).new_page()
    await page.goto(f"{address}{path}")
    await page.locator(".shell").wait_for()
    return page


async def first_paint(browser: Browser, address: str) -> float:
    """Milliseconds until something is painted, from an empty cache."""
    page = await opened(browser, address, "/")
    found = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    await page.context.close()
    return float(found)


async def flooded(
    browser: Browser, address: str, seconds: float, flood: Callable[[], Awaitable[Any]]
) -> tuple[dict[str, float], float]:
    """What a tail shows while ``flood`` runs, and how many milliseconds the halt dialog then takes to open."""
    page = await opened(browser, address, "/tail")
    running = asyncio.ensure_future(flood())
    await page.locator(".tailrow .summary", has_text=re.compile(r" 1\d{12}")).first.wait_for()
    await asyncio.sleep(2)
    found = await page.evaluate(_WATCH, seconds)
    dialog = await page.evaluate(_UNTIL, ["H", "dialog[open], [role=dialog]"])
    await running
    await page.context.close()
    return found, float(dialog)


async def event(browser: Browser, address: str, place: str) -> float:
    """Milliseconds until a stored event is shown, from the page before."""
    page = await opened(browser, address, "/me")
    took = await page.evaluate(_GO, [f"/event/{place}", ".event .tree, .event pre"])
    await page.context.close()
    return float(took)


async def table(browser: Browser, folder: Path) -> tuple[float, float]:
    """Milliseconds until a table of a hundred thousand rows that are there is shown, and frames a second scrolling.

    The console itself sends fewer: a stage of the tests does, once.
    """
    rows = folder / "orders.json"
    await asyncio.to_thread(rows.write_text, _many_orders())
    words = (sys.executable, "-c", _LARGE_STAGE, str(_STAGE), str(rows))
    played = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        assert played.stdout is not None
        address = (await played.stdout.readline()).decode().strip()
        page = await opened(browser, address, "/orders")
        await page.get_by_role("button", name=f"all {_ROWS:,}").wait_for(timeout=45_000)
        await page.evaluate(_GO, ["/me", ".facts"])
        took = await page.evaluate(_GO, ["/orders", "tbody tr:nth-child(30)"])
        frames = await page.evaluate(_SCROLL)
        await page.context.close()
    finally:
        played.kill()
        await played.wait()
    return float(took), float(frames)


def _many_orders() -> str:
    facts = {
        "status": "filled", "is_final": True, "side": "buy", "quantity": "0.25", "filled": "0.25",
        "symbol": "BTC/USD", "fund": "alpha", "actor": "ma_cross", "kind": "market ioc", "broker": "paper", "why": None,
    }  # fmt: skip
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    rows = [
        {
            "facts": {"order_id": f"desk-1.{number}", **facts},
            "first": moment,
            "last": moment,
            "id": f"OMS_ORDERS:{number}",
            "waiting_seconds": None,
        }
        for number in range(_ROWS)
    ]
    found = {"orders": rows, "open": 0, "slow": 0, "rejected_hour": 0, "since": moment, "read_at": moment}
    return json.dumps({**found, "unknown": None})


def large_payload() -> bytes:
    """A payload of nearly a megabyte."""
    rows = [{"number": number, "text": "x" * 80, "list": [1, 2, 3]} for number in range(7_500)]
    return json.dumps({"rows": rows}).encode()
