"""What is not known is shown as not known, with the age of what was; and a halt works all the same."""

import pytest
from hands import Visit
from mts1b_console.shapes.base import Problem
from mts1b_console.shapes.person import Rights
from playwright.async_api import expect
from stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

_HIDE = """hidden => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
}"""
_AWAY = Problem(code="unanswered", message="nobody answers looks", what_to_do="see whether `mts1b look serve` runs")


async def test_nothing_known_is_no_nought(visit: Visit, stage: Stage) -> None:
    stage.away = _AWAY
    page = await visit("/")
    await expect(page.get_by_text("Whether something needs you is not known")).to_be_visible()
    await expect(page.get_by_role("main")).to_contain_text("? open")
    await expect(page.get_by_text("see whether `mts1b look serve` runs").first).to_be_visible()
    await expect(page.get_by_role("link", name="alerts: not known")).to_be_visible()


async def test_what_was_known_stays_with_its_age(visit: Visit, stage: Stage) -> None:
    page = await visit("/alerts")
    await expect(page.get_by_text("3 alerts in force")).to_be_visible()
    stage.away = _AWAY
    await expect(page.get_by_text("nobody answers looks").first).to_be_visible(timeout=8_000)
    await expect(page.get_by_text("▲ as of").first).to_be_visible()
    await expect(page.get_by_text("3 alerts in force")).to_be_visible()


async def test_a_page_that_is_hidden_asks_only_who_it_is_for(visit: Visit, stage: Stage) -> None:
    page = await visit("/", alone=True)
    await page.clock.install()
    await page.reload()
    await expect(page.get_by_role("link", name="3 alerts in force")).to_be_visible()
    await page.evaluate(_HIDE, True)
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url.removeprefix(stage.address)))
    await page.clock.run_for(310_000)
    assert asked == ["/api/me"]
    async with page.expect_request("**/api/now"):
        await page.evaluate(_HIDE, False)
    async with page.expect_request("**/api/now"):
        await page.clock.run_for(2_100)


async def test_a_halt_works_while_nothing_is_known(visit: Visit, stage: Stage) -> None:
    stage.away = _AWAY
    page = await visit("/")
    await page.keyboard.press("Shift+H")
    await expect(page.get_by_role("dialog")).to_contain_text("how many is not known right now")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("is not seen in its stream yet").first).to_be_visible(timeout=8_000)
    assert len(stage.state.halts) == 1


async def test_signed_out_there_is_a_sign_in_and_nothing_else(visit: Visit, stage: Stage) -> None:
    stage.signed_in = False
    page = await visit("/orders", expected="401")
    await page.get_by_label("or paste a token").fill("bad")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert").filter(has_text="the bus does not take this token")).to_be_visible()
    await page.get_by_label("or paste a token").fill("good")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Orders")


async def test_what_the_server_does_not_grant_is_not_offered(visit: Visit, stage: Stage) -> None:
    stage.state.rights = Rights(
        subjects=["mts.*.operations.>"], streams=[], looks=[">"], acts=["halt.request.fund.beta"]
    )
    stage.state.act("halt/request", {"request_id": "a" * 32, "reason": "prices look wrong"})
    page = await visit("/deadletters")
    await expect(page.get_by_text("your role may look, and do nothing about them")).to_be_visible()
    await expect(page.get_by_role("button", name="Requeue")).to_have_count(0)
    await page.keyboard.press("g")
    await page.keyboard.press("h")
    await expect(page.get_by_text("your role may not clear it")).to_be_visible()
    await page.keyboard.press("Shift+H")
    await expect(page.get_by_role("radio", name="every fund")).to_have_count(0)
    await expect(page.get_by_role("radio", name="beta")).to_be_visible()


async def test_who_may_not_halt_has_no_button_and_no_key_for_it(visit: Visit, stage: Stage) -> None:
    stage.state.rights = Rights(subjects=["mts.*.marketdata.>"], streams=[], looks=[], acts=[])
    page = await visit("/")
    await expect(page.get_by_role("button", name="HALT")).to_have_count(0)
    await page.keyboard.press("Shift+H")
    await expect(page.get_by_role("dialog")).to_have_count(0)
