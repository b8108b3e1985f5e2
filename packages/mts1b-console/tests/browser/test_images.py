"""The pictures of the documentation: written where ``MTS1B_IMAGES`` says (`make console-images`)."""

import os
from pathlib import Path

import pytest
from hands import Visit
from playwright.async_api import Page, expect
from scenery import ORDER

pytestmark = pytest.mark.asyncio(loop_scope="session")

_WIDTH, _HEIGHT = 1120, 640


async def _take(page: Page, name: str, folder: Path) -> None:
    await page.evaluate("document.fonts.ready")
    taken = await page.screenshot(path=folder / f"console-{name}.png", animations="disabled")
    assert 10_000 < len(taken) < 200_000


async def test_the_pictures_show_what_the_pages_are_for(visit: Visit, tmp_path: Path) -> None:
    folder = Path(os.environ.get("MTS1B_IMAGES") or tmp_path)
    page = await visit("/", width=_WIDTH, height=_HEIGHT)
    await expect(page.get_by_text("6 things need you")).to_be_visible()
    await _take(page, "now", folder)

    page = await visit(f"/order/{ORDER}", width=_WIDTH, height=_HEIGHT)
    await expect(page.get_by_role("region", name="what is missing")).to_be_visible()
    await _take(page, "order", folder)

    page = await visit("/deadletters", width=_WIDTH, height=_HEIGHT)
    await expect(page.get_by_text("ZeroDivisionError")).to_be_visible()
    await expect(page.get_by_text("0 of 37")).to_be_visible()
    await _take(page, "deadletters", folder)

    page = await visit("/halts", width=_WIDTH, height=_HEIGHT)
    await page.keyboard.press("Shift+H")
    await expect(page.get_by_role("dialog")).to_contain_text("9 working orders")
    await _take(page, "halt", folder)
