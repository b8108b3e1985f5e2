"""Debian's Chromium, driven by Playwright, at a console whose bus is made up; and what every page has to keep to."""

import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

sys.path.insert(0, str(Path(__file__).parent))

from hands import KNOWN, Hands, Visit
from stage import Stage, playing

_CHROMIUM = ("/usr/bin/chromium", "chromium")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests."""
    found = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail("the browser tests need Chromium: apt-get install chromium", pytrace=False)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--js-flags=--expose-gc"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def theatre() -> AsyncIterator[Stage]:
    """One server for all tests."""
    stage = Stage()
    async with playing(stage):
        yield stage


@pytest.fixture
def stage(theatre: Stage) -> Stage:
    """What is played, from its beginning; tests change it."""
    theatre.begin()
    return theatre


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def contexts(chromium: Browser) -> AsyncIterator[dict[bool, BrowserContext]]:
    """What the pages of all tests share, without the policy and with it. What a page stores is taken away after it."""
    yield {bypass: await chromium.new_context(bypass_csp=bypass) for bypass in (False, True)}


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser, contexts: dict[bool, BrowserContext], stage: Stage) -> AsyncIterator[Visit]:
    """Open pages; at the end nothing may have been refused by the policy, raised, or asked elsewhere."""
    address = stage.address
    pages: list[Page] = []
    own: list[BrowserContext] = []
    wrong: list[str] = []

    async def open_page(
        path: str,
        *,
        theme: str = "dark",
        width: int = 1440,
        height: int = 900,
        bypass_csp: bool = False,
        expected: str = "\0",
        until: str = KNOWN,
        alone: bool = False,
    ) -> Page:
        context = contexts[bypass_csp]
        if alone:
            own.append(context := await chromium.new_context(bypass_csp=bypass_csp))
        page = await context.new_page()
        pages.append(page)
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme="light" if theme == "light" else "dark")
        page.on("pageerror", lambda error: wrong.append(f"{path}: {error}"))
        page.on("console", lambda said: _note(wrong, path, said.type, said.text, expected))
        page.on(
            "request",
            lambda sent: None if sent.url.startswith((address, "data:")) else wrong.append(f"{path}: asked {sent.url}"),
        )
        page.on("dialog", lambda dialog: wrong.append(f"{path}: a script opened a dialog: {dialog.message}"))
        await page.goto(f"{address}{path}")
        await page.locator(until).first.wait_for()
        return page

    yield open_page
    for context in own:
        await context.close()
    left = [page for page in pages if not page.is_closed()]
    for page in left:
        await page.evaluate("localStorage.clear(); sessionStorage.clear()")
        await page.close()
    assert not wrong, "\n".join(wrong)


def _note(wrong: list[str], path: str, kind: str, text: str, expected: str) -> None:
    if kind in ("error", "warning") and expected not in text:
        wrong.append(f"{path}: {kind}: {text}")


@pytest.fixture
def hands() -> Callable[[Page], Hands]:
    """Hands on a page, whose gestures are counted."""
    return Hands
