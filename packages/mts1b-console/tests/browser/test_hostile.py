"""Names and payloads of whoever publishes are shown as text: they never run, turn or hide anything."""

import pytest
from hands import Visit
from playwright.async_api import expect
from scenery import ORDER
from stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

_HTML = '<img src=x onerror="alert(1)"><script>alert(2)</script>"><svg onload=alert(3)>'
_TURNED = "safe\u202egnorw\u2066 \u200bhidden"
_NUL = "a\x00b\x1b[31mred\x7f"

_PAGES = ["/orders", "/events", "/events?open=OMS_ORDERS:12044", "/deadletters", "/event/OMS_ORDERS/12044?tab=headers"]


@pytest.mark.parametrize("path", _PAGES)
async def test_markup_is_text(visit: Visit, stage: Stage, path: str) -> None:
    stage.hostile = _HTML
    page = await visit(path)
    if path != "/deadletters":
        await expect(page.get_by_text("onerror=").first).to_be_attached()
    await expect(page.get_by_text("Asking the console…")).to_have_count(0)
    assert await page.locator("img, script:not([src]), svg[onload]").count() == 0  # and a dialog would fail the visit


async def test_marks_that_turn_or_hide_text_are_shown_as_what_they_are(visit: Visit, stage: Stage) -> None:
    stage.hostile = _TURNED
    page = await visit("/events")
    await expect(page.get_by_text("safe⟨U+202E⟩gnorw⟨U+2066⟩ ⟨U+200B⟩hidden").first).to_be_visible()


async def test_control_characters_are_shown_as_their_symbols(visit: Visit, stage: Stage) -> None:
    stage.hostile = _NUL
    page = await visit("/event/OMS_ORDERS/12044")
    await expect(page.get_by_text("a␀b␛[31mred␡").first).to_be_visible()


async def test_the_tail_shows_markup_as_text(visit: Visit, stage: Stage) -> None:
    stage.hostile, stage.per_second = _HTML + _TURNED + _NUL, 200
    page = await visit("/tail")
    await expect(page.locator(".tailrow .summary").first).to_contain_text('onerror="alert(1)"')
    assert await page.locator(".tail img").count() == 0


async def test_a_megabyte_is_cut_until_somebody_wants_it(visit: Visit, stage: Stage) -> None:
    stage.hostile = "x" * 1_000_000
    page = await visit("/event/OMS_ORDERS/12044")
    await page.get_by_text("show all (1,000,000 characters)").first.wait_for()
    assert await page.evaluate("document.body.innerText.length") < 20_000
    await page.get_by_text("show all (1,000,000 characters)").first.click()
    await page.wait_for_function("document.body.innerText.length > 1_000_000")


async def test_digits_are_shown_as_they_were_published(visit: Visit) -> None:
    page = await visit("/event/OMS_ORDERS/12044")
    await expect(page.get_by_text("64123.500000000000000001")).to_be_visible()
    await expect(page.get_by_text("9007199254740993")).to_be_visible()


async def test_an_address_that_is_nonsense_is_answered_in_words(visit: Visit) -> None:
    for path in (
        "/order/%E0%A4%A",
        f"/order/{ORDER}?open=%3Cscript%3E",
        "/events?q=%22&from=%00",
        "/tail?mode=%3Cb%3E",
    ):
        page = await visit(path, expected="404")
        await expect(page.get_by_role("heading", level=1).first).to_be_visible()
