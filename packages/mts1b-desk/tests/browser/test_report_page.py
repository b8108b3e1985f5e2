"""The page of a report in Debian's Chromium: both themes, a telephone's width, no network, no error, axe."""

import shutil
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from mts1b_desk.report.curve import Point
from mts1b_desk.report.figures import FundReport, Report, Trade
from mts1b_desk.report.page import page
from mts1b_desk.settings import SIMULATION_START
from playwright.async_api import Browser, async_playwright

AXE = Path(__file__).parents[3] / "mts1b-console/web/node_modules/axe-core/axe.min.js"
RULES = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"


def report() -> Report:
    """A fund that traded a lot, and one with a long name that never did."""
    trade = Trade(
        at=SIMULATION_START, symbol="BRK.B", side="buy", quantity=Decimal("0.1121"), price=Decimal("59946.9"),
        fee=Decimal("-0.67200475"), broker="paper", order_id="o",
    )  # fmt: skip
    points = tuple(
        Point(
            at=SIMULATION_START + timedelta(seconds=n),
            nav=Decimal(n),
            drawdown=Decimal(0),
            gross=Decimal(1),
            net=Decimal(-1),
        )
        for n in range(9_000)
    )
    busy = FundReport(
        fund_id="alpha", final=True, nav=Decimal("100199.48077918"), cash=Decimal("105153.48069118"),
        realised_pnl=Decimal("258.383459"), unrealised_pnl=Decimal("-3.326328"), fees=Decimal("55.57635182"),
        max_drawdown=Decimal("0.25"), max_drawdown_at=SIMULATION_START, rejections={"order_notional": 53},
        positions={"BRK.B": Decimal("-0.106")}, marks={"BRK.B": Decimal(60_000)}, points=points,
        trades=(trade,) * 200,
    )  # fmt: skip
    idle = busy.model_copy(update={"fund_id": "gamma-with-a-long-name<script>", "trades": (), "final": False})
    return Report(session="s1", first=SIMULATION_START, last=SIMULATION_START, funds=(busy, idle))


async def opened(browser: Browser, path: Path, *, theme: Literal["dark", "light"], width: int) -> list[str]:
    """What is wrong with the page there."""
    wrong: list[str] = []
    sheet = await browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
    sheet.set_default_timeout(120_000)
    sheet.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
    sheet.on("pageerror", lambda error: wrong.append(f"{error}"))
    sheet.on("request", lambda sent: wrong.append(sent.url) if sent.url.startswith("http") else None)
    await sheet.goto(path.as_uri())
    await sheet.wait_for_function("document.querySelectorAll('.js-plotly-plot .ytick text').length > 2")
    over = await sheet.evaluate("document.documentElement.scrollWidth - innerWidth")
    ink = await sheet.evaluate("getComputedStyle(document.querySelector('.ytick text')).fill")
    await sheet.evaluate(AXE.read_text())
    found = await sheet.evaluate(RULES)
    wrong += [f"{theme}, {width}: {rule['id']} {rule['nodes'][0]['html']}" for rule in found["violations"]]
    assert over == 0, f"{width} pixels: the page is {over} wider"
    assert ink == {"dark": "rgb(224, 224, 224)", "light": "rgb(38, 38, 38)"}[theme]
    return wrong


@pytest.mark.slow(seconds=25)
async def test_the_page_of_a_report_can_be_read_in_both_themes_and_on_a_telephone(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text(page(report()))
    chromium = shutil.which("chromium")
    assert chromium is not None, "the browser tests need Chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        assert not await opened(browser, path, theme="dark", width=360)
        assert not await opened(browser, path, theme="light", width=1280)
        await browser.close()
