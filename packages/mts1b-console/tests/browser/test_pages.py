"""Every page in both themes: nothing is refused by the policy, nothing asked elsewhere, axe has nothing to say."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hands import Visit
from playwright.async_api import Page, expect
from scenery import ORDER, TRACE
from stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

_AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
_NARROW = 360

PAGES = {
    "/": "Now",
    "/halts": "Halts",
    f"/order/{ORDER}": "order",
    f"/order/{ORDER}?open=OMS_ORDERS:12044": "order",
    f"/trace/{TRACE}": "trace",
    "/orders": "Orders",
    "/nav": "Net asset value",
    "/deadletters": "Dead letters",
    "/events": "Explore",
    "/events?open=OMS_ORDERS:12044&tab=readers": "Explore",
    "/event/OMS_ORDERS/12044": "event",
    "/tail": "Tail",
    "/alerts": "Alerts",
    "/consumers/OMS_ORDERS/broker-orders": "Consumers",
    "/streams/MARKETDATA_SESSIONS": "Streams",
    "/services?open=mts1b-brokers": "Services",
    "/subjects/mts.v1.oms.orders.created": "Subjects",
    "/schemas/mts1b_foundation.orders.Order:v2": "Schemas",
    "/permissions": "Permissions",
    "/audit?actor=olga": "Audit",
    "/audit": "Audit",
    "/me": "olga",
    "/nowhere": "",
}


@cache
def _axe() -> str:
    if not _AXE.exists():
        pytest.fail(
            "axe-core is not installed: make test-browser installs it (npm ci in packages/mts1b-console/web)",
            pytrace=False,
        )
    return _AXE.read_text()


async def violations(page: Page, rules: str = "") -> list[str]:
    """What axe finds, by all of its rules or by some."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_axe())
    found: dict[str, Any] = await page.evaluate(f"axe.run(document, {{resultTypes: ['violations'], {rules}}})")
    return [
        f"{each['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(
    ("theme", "rules"),
    [("dark", ""), ("light", "runOnly: ['color-contrast', 'link-in-text-block']")],
    ids=["dark", "light"],
)
async def test_no_page_breaks_a_rule_of_accessibility(visit: Visit, stage: Stage, theme: str, rules: str) -> None:
    stage.per_second = 300
    page = await visit("/", theme=theme, bypass_csp=True)  # axe is evaluated in the page
    found: dict[str, list[str]] = {}
    for path, heading in PAGES.items():
        await page.evaluate(
            "path => { history.pushState(null, '', path); dispatchEvent(new PopStateEvent('popstate')); }", path
        )
        if heading:
            await expect(page.get_by_role("heading", level=1).first).to_contain_text(heading)
        await expect(page.get_by_text("Asking the console…")).to_have_count(0)
        if problems := await violations(page, rules):
            found[path] = problems
    assert not found, json.dumps(found, indent=1)


async def test_dialogs_keep_the_rules_of_accessibility(visit: Visit) -> None:
    page = await visit("/deadletters", bypass_csp=True)
    await page.get_by_role("region", name="the letter").wait_for()
    found: list[str] = []
    for keys, name in {
        "Shift+H": "halt trading",
        "r": "Requeue",
        "n": "note on",
        "?": "keys",
        "Control+k": "find or do",
    }.items():
        await page.keyboard.press(keys)
        await page.get_by_role("dialog", name=name).wait_for()
        found += await violations(page)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", ["/", f"/order/{ORDER}", "/halts", "/alerts"])
async def test_a_telephone_shows_what_is_needed_at_night(visit: Visit, stage: Stage, path: str) -> None:
    stage.state.act("halt/request", {"request_id": "a" * 32, "reason": "prices look wrong"})
    page = await visit(path, width=_NARROW, height=740, bypass_csp=True)
    await expect(page.get_by_text("Asking the console…")).to_have_count(0)
    await expect(page.get_by_role("button", name="HALT ·1")).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth") <= _NARROW
    assert not await violations(page)


_CUT_WORDS = """each => {
    const text = document.createTreeWalker(each, NodeFilter.SHOW_TEXT), cut = [];
    while (text.nextNode()) for (const word of text.currentNode.data.matchAll(/[^_/.:\\s-]+[_/.:-]?/g)) {
        const range = document.createRange();
        range.setStart(text.currentNode, word.index);
        range.setEnd(text.currentNode, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(line => line.top)).size > 1) cut.push(word[0]);
    }
    return cut;
}"""
"""Words of an element that begin in one line and end in another."""


@pytest.mark.parametrize("table", ["alerts in force", "cleared alerts"])
async def test_a_telephone_shows_alerts_with_their_figures_and_whole_names(visit: Visit, table: str) -> None:
    page = await visit("/alerts", width=_NARROW, height=740)
    found = page.get_by_role("region", name=table)
    await found.wait_for()
    assert await found.evaluate("each => each.scrollWidth <= each.clientWidth"), "columns lie beyond the edge"
    assert await found.locator("tbody").evaluate(_CUT_WORDS) == []
    if table == "alerts in force":
        await expect(found.get_by_role("row", name="slow consumer")).to_contain_text(re.compile("nobody.*41 s of 30 s"))


async def test_a_telephone_shows_when_a_story_begins(visit: Visit) -> None:
    page = await visit(f"/order/{ORDER}", width=_NARROW, height=740)
    line = page.get_by_role("region", name="timeline")
    first, box = await line.locator("text.when").first.bounding_box(), await line.bounding_box()
    assert first is not None
    assert box is not None
    assert box["x"] <= first["x"]
    assert first["x"] + first["width"] <= box["x"] + box["width"]
    await line.evaluate("each => { each.firstChild.style.minWidth = '900px'; each.scrollLeft = 40 }")
    await expect(line.locator("text.when")).to_have_count(0)  # a time is shown whole or not at all


async def test_a_telephone_names_the_environment_in_full(visit: Visit) -> None:
    page = await visit("/", width=_NARROW, height=740)
    name = page.locator(".environment")
    await expect(name).to_have_text("production")
    assert await name.evaluate("each => each.scrollWidth <= each.clientWidth"), "it is cut"


async def test_a_service_shows_its_processes_their_errors_and_whose_certificate_ends_first(visit: Visit) -> None:
    page = await visit("/services?open=mts1b-oms", width=_NARROW, height=740)
    fills = page.get_by_role("table", name="what oms-1 handles").get_by_role("row", name="oms-fills")
    await expect(fills).to_contain_text("12,044")
    await expect(fills.get_by_role("cell").nth(2)).to_have_text("3")
    assert await page.evaluate("document.documentElement.scrollWidth") <= _NARROW
    brokers = page.get_by_role("region", name="services").get_by_role("row", name="brokers")
    await expect(brokers).to_contain_text("0, 1 silent")
    certificates = page.get_by_role("region", name="certificates").get_by_role("row")
    await expect(certificates.nth(1)).to_contain_text("6 days left")
    await expect(certificates.nth(1)).to_contain_text("oms")


async def test_pages_load_under_the_real_policy(visit: Visit) -> None:
    page = await visit("/")
    for path in PAGES:
        await page.goto(f"{page.url.split('/', 3)[0]}//{page.url.split('/')[2]}{path}")
        await expect(page.get_by_text("Asking the console…")).to_have_count(0)


async def test_reduced_motion_is_kept(visit: Visit) -> None:
    page = await visit("/tail")
    await page.emulate_media(reduced_motion="reduce")
    moving = await page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).animationName !== 'none').length"
    )
    assert moving == 0


async def test_what_changes_is_said_to_screen_readers(visit: Visit, stage: Stage) -> None:
    page = await visit("/")
    await expect(page.locator("#say-now")).to_have_attribute("aria-live", "assertive")
    await page.keyboard.press("Shift+H")
    await page.keyboard.press("Enter")
    await expect(page.locator("#say-now")).to_contain_text("halt of every fund is in force", timeout=8_000)
    assert stage.state.halts


async def test_times_say_their_zone_and_carry_the_other_one(visit: Visit) -> None:
    page = await visit("/alerts")
    when = page.locator("time").first
    assert (await when.inner_text()).endswith("Z")
    assert "UTC" in (await when.get_attribute("title") or "")
    assert "ago" in (await when.get_attribute("title") or "")
