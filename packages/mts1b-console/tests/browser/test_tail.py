"""The tail at ten thousand events a second: bounded rows, bounded memory, nothing lost while it stands."""

import pytest
from hands import Visit
from playwright.async_api import Page, expect
from stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

_HEAP = "(() => { gc(); return performance.memory.usedJSHeapSize; })()"

_PLACES = """box => {
    const head = box.querySelector('thead'), left = cell => Math.round(cell.getBoundingClientRect().left * 10);
    return [...box.querySelectorAll('tbody tr[aria-rowindex]')].map(row => [
        Number(row.getAttribute('aria-rowindex')),
        Math.round(row.getBoundingClientRect().top - box.querySelector('table').getBoundingClientRect().top),
        Math.round(head.getBoundingClientRect().height),
        left(row.cells[6]), left(head.rows[0].cells[6]),
    ]);
}"""


async def _frames(page: Page, milliseconds: int) -> int:
    return await page.evaluate(
        """for_ms => new Promise(done => {
            const end = performance.now() + for_ms; let n = 0;
            const next = now => { n += 1; now < end ? requestAnimationFrame(next) : done(n); };
            requestAnimationFrame(next);
        })""",
        milliseconds,
    )


async def test_rows_and_memory_stay_bounded_at_ten_thousand_a_second(visit: Visit, stage: Stage) -> None:
    stage.per_second = 10_000
    page = await visit("/tail")
    await expect(page.locator(".tailstatus")).to_contain_text("10,000/s")
    await _frames(page, 1_000)
    rows = await page.locator(".tailrow").count()
    elements, heap = await page.evaluate("document.querySelectorAll('*').length"), await page.evaluate(_HEAP)
    frames = await _frames(page, 3_000)
    assert await page.locator(".tailrow").count() == rows <= 120
    assert abs(await page.evaluate("document.querySelectorAll('*').length") - elements) < 50
    assert await page.evaluate(_HEAP) - heap < 20_000_000
    assert frames > 30  # it goes on drawing; how fast is for `make bench-console`


async def test_a_halt_opens_while_events_pour(visit: Visit, stage: Stage) -> None:
    stage.per_second = 10_000
    page = await visit("/tail")
    await expect(page.locator(".tailstatus")).to_contain_text("10,000/s")
    await page.keyboard.press("Shift+H")
    await expect(page.get_by_role("dialog", name="halt trading")).to_be_visible()


async def test_space_pauses_and_says_how_far_it_is_behind(visit: Visit, stage: Stage) -> None:
    stage.per_second = 1_000
    page = await visit("/tail")
    await expect(page.locator(".tailrow").first).not_to_be_empty()
    await page.keyboard.press("Space")
    bar = page.locator(".pausebar").filter(has_text="PAUSED")
    await expect(bar).to_contain_text("behind")
    first = await page.locator(".tailrow").first.inner_text()
    await expect(bar).to_contain_text("fell off", timeout=10_000)
    assert await page.locator(".tailrow").first.inner_text() == first
    await page.keyboard.press("Space")
    await expect(bar).to_have_count(0)
    await expect(page.locator(".tailrow").first).not_to_have_text(first)


async def test_a_row_opens_beside_the_list(visit: Visit, stage: Stage) -> None:
    stage.per_second = 300
    page = await visit("/tail")
    await page.locator(".tailrow").first.click()
    await expect(page.get_by_role("region", name="the event", exact=True)).to_contain_text(
        "oms.orders.accepted.fund.alpha"
    )
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("region", name="the event", exact=True)).to_have_count(0)


async def test_a_table_of_a_hundred_thousand_rows_holds_only_what_is_seen(visit: Visit, stage: Stage) -> None:
    stage.state.orders = 20_000
    page = await visit("/orders")
    await expect(page.get_by_role("button", name="all 20,000")).to_be_visible(timeout=15_000)
    assert await page.locator("tbody tr").count() < 200
    box = page.get_by_role("region", name="orders")
    await box.evaluate("box => box.scrollTo(0, 270_000)")
    await expect(page.locator("tr[aria-rowindex='10010']")).to_be_in_viewport()
    assert await page.locator("tbody tr").count() < 200
    # each row stands where it is counted, in the columns of the head
    rows: list[list[float]] = await box.evaluate(_PLACES)
    assert all(top == (index - 2) * 27 + height for index, top, height, _, _ in rows), rows[:3]
    assert all(left == head for *_, left, head in rows), rows[:3]
