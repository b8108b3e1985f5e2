"""The seven flows of a night on a locked-down server, with the desk trading, gestures counted."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable

import psutil
import pytest
import pytest_asyncio
from hands import Hands
from mts1b_foundation.operations import AlertSeverity
from mts1b_foundation.samples import ALERT, ORDER
from mts1b_foundation.subjects import OPERATIONS_ALERTS_RAISED
from mts1b_operations.lag import consumer_lags
from playwright.async_api import Browser, Page, expect
from secured import LONG, Secured, secured, sign_in

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.slow(seconds=40),
    # nats-py 2.16 calls aiohttp in a way that it deprecates.
    pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning"),
]

_WAITS = re.compile(r"accepted\s*(?:[2-9]\.\d|\d\d) s")
"""An order that waits for two seconds or longer: not one that was accepted just before the broker was frozen."""


@pytest_asyncio.fixture(loop_scope="session")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Secured, int]]:
    """A console on a server of its own, with the desk trading; and the process of the desk."""
    folder = tmp_path_factory.mktemp("night")
    async with secured(folder) as made:
        with (folder / "desk.log").open("w") as log:
            command = ("mts1b-desk", "run", "--fund", "alpha", "--fund", "beta")
            trading = await asyncio.create_subprocess_exec(*command, env=made.environ, stdout=log, stderr=log)
        try:
            yield made, trading.pid
        finally:
            assert trading.returncode is None, (folder / "desk.log").read_text()
            trading.send_signal(signal.SIGINT)
            try:
                async with asyncio.timeout(20):
                    await trading.wait()
            except TimeoutError:
                trading.kill()
                await trading.wait()


def _broker(desk: int) -> psutil.Process:
    return next(each for each in psutil.Process(desk).children(recursive=True) if "brokers" in " ".join(each.cmdline()))


async def test_a_night_at_the_desk(
    chromium: Browser, desk: tuple[Secured, int], hands: Callable[[Page], Hands]
) -> None:
    made, process = desk
    page = await (await chromium.new_context(viewport={"width": 1440, "height": 900})).new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    await page.goto(f"{made.address}/orders")
    await sign_in(page, made.gate.token("olga", "operator", "risk"))
    await expect(page.get_by_text("✓ filled").first).to_be_visible(timeout=LONG)
    await _an_order_is_stuck(page, process, hands(page))
    await _alerts_lead_to_their_cause(page, made, hands)
    await _letters_are_requeued(page, made, hands(page))
    await _a_mismatch_is_understood(page, made, hands(page))
    await _trading_is_halted(page, hands(page))
    await page.goto(f"{made.address}/tail?subject=mts.*.oms.>")
    await expect(page.locator(".tailrow", has_text="oms.orders").first).to_be_visible(timeout=LONG)
    assert not wrong, wrong
    await page.context.close()


async def _an_order_is_stuck(page: Page, process: int, hand: Hands) -> None:
    broker = _broker(process)
    broker.suspend()
    try:
        waiting = page.locator("tbody tr", has_text=_WAITS).first
        await expect(waiting).to_be_visible(timeout=LONG)
        order = await waiting.get_by_role("link").get_attribute("title") or ""
        await hand.press("Control+k")
        await hand.type(order)
        await hand.press("Enter")
        await expect(page.get_by_role("region", name="what is missing")).to_contain_text("brokers", timeout=LONG)
        assert hand.gestures == 3
    finally:
        broker.resume()
    await expect(page.get_by_role("region", name="what is missing")).to_have_count(0, timeout=LONG)


async def _alerts_lead_to_their_cause(page: Page, made: Secured, hands: Callable[[Page], Hands]) -> None:
    """A slow consumer, a stream that is about to discard, a certificate that ends: as the monitor tells of them."""
    operations = await made.gate.locked.bus("mts1b-operations")
    lag = next(each for each in await consumer_lags(operations, stream="OMS_ORDERS") if each.service == "mts1b-brokers")
    reader = f"OMS_ORDERS/{lag.consumer}"
    causes = {
        "slow_consumer": (reader, f"{lag.consumer} on OMS_ORDERS"),
        "discard_risk": (reader, "OMS_ORDERS"),
        "certificate_expiry": ("/etc/mts1b/tls/mts1b-oms.pem", "mts1b-deploy pki rotate --due"),
    }
    for name, (target, _) in causes.items():
        changes = {"alert_id": f"{name}-1", "name": name, "target": target, "severity": AlertSeverity.WARNING}
        await operations.emit(OPERATIONS_ALERTS_RAISED, ALERT.model_copy(update={"cleared_at": None, **changes}))
    for name, (_, says) in causes.items():
        await page.goto(f"{made.address}/")
        hand = hands(page)
        await hand.click(page.get_by_role("link", name=name.replace("_", " ")).first)
        await expect(page.get_by_role("main")).to_contain_text(says, timeout=LONG)
        assert hand.gestures == 1


async def _letters_are_requeued(page: Page, made: Secured, hand: Hands) -> None:
    for seq in (1, 2):
        await made.dead_letter(seq, consumer="my-consumer")
    await page.goto(f"{made.address}/")
    await hand.click(page.get_by_role("link", name="dead letters my-consumer 2"))
    await expect(page.get_by_role("heading", name=re.compile("^2 .* my-consumer"))).to_be_visible(timeout=LONG)
    await hand.press("r")
    await hand.type("the bug is gone")
    await hand.type("requeue 2", tab=True)
    await expect(page.get_by_role("button", name="Requeue 1 of 2")).to_be_enabled(timeout=LONG)  # what happens is said
    await hand.press("Enter")
    progress = page.get_by_role("status", name="progress")
    await hand.click(progress.get_by_role("button", name="Requeue the other 1"))
    await expect(progress).to_contain_text("2 of 2 done", timeout=LONG)
    assert hand.gestures <= 7


async def _a_mismatch_is_understood(page: Page, made: Secured, hand: Hands) -> None:
    came = f"{ORDER.schema_name()}:v99"
    await made.dead_letter(1, consumer="their-consumer", schema=came)
    await page.goto(f"{made.address}/")
    await hand.click(page.get_by_role("link", name="dead letters their-consumer 1"))
    said = page.get_by_role("region", name="the letter")
    await expect(said).to_contain_text(f"wanted {ORDER.schema_name()}:v", timeout=LONG)
    await expect(said).to_contain_text(f"got {came}")
    assert hand.gestures == 1


async def _trading_is_halted(page: Page, hand: Hands) -> None:
    await hand.press("Shift+H")
    await hand.press("Enter")
    halt = page.get_by_role("region", name="halt of every fund")
    await expect(halt).to_contain_text("oms after", timeout=LONG)
    assert hand.gestures == 2
    await page.get_by_role("button", name="Clear").click()
    await page.get_by_label("why, for the audit log").fill("the rehearsal is over")
    await page.get_by_label("type resume all").fill("resume all")
    await page.get_by_role("button", name="Resume all").click()
    await expect(page.get_by_text("No halt is in force: trading runs.")).to_be_visible(timeout=LONG)
