"""Signing in on a locked-down bus: each person's pages offer what the server grants, and end with the session."""

import re
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_operations.deadletters import letters
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.service.requeue import answer_requeues
from playwright.async_api import Browser, expect
from secured import LONG, Secured, secured, sign_in

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.slow(seconds=20),
    # nats-py 2.16 calls aiohttp in a way that it deprecates.
    pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning"),
]
_LETTERS = 40


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """The same for all tests here."""
    async with secured(tmp_path_factory.mktemp("people")) as made:
        yield made


async def test_each_person_is_offered_what_the_server_grants(chromium: Browser, desk: Secured) -> None:
    gate, address = desk.gate, desk.address
    oms = await gate.locked.bus("mts1b-oms")
    await oms.emit(OMS_ORDERS_CREATED, ORDER)
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(f"{address}/orders")
    await sign_in(page, gate.token("olga", "operator"))
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Orders")
    await expect(page.get_by_role("region", name="orders").get_by_text(ORDER.symbol)).to_be_visible(timeout=LONG)
    await page.keyboard.press("Shift+H")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="halt of every fund")).to_contain_text("by olga", timeout=LONG)
    assert await page.evaluate("document.cookie") == ""
    assert "eyJ" not in await page.evaluate("JSON.stringify([localStorage, sessionStorage, location.href])")

    await page.goto(f"{address}/me")
    await page.get_by_role("button", name="Sign out").click()
    await sign_in(page, gate.token("mark", "market"))
    await expect(page.get_by_role("link", name="mark", exact=True)).to_be_visible(timeout=LONG)
    await expect(page.get_by_role("button", name="HALT")).to_have_count(0)
    await page.goto(f"{address}/deadletters")
    await expect(page.get_by_text("Not for your role.")).to_be_visible(timeout=LONG)
    await page.goto(f"{address}/tail")
    await expect(page.get_by_label("subject")).to_have_value("mts.*.marketdata.>")
    await context.close()


async def _dead_letters(desk: Secured) -> None:
    """Orders that the treasury gave up on; the OMS, which publishes them again when it is asked, is there."""
    oms = await desk.gate.locked.bus("mts1b-oms")
    await answer_requeues(oms)
    for number in range(_LETTERS):
        order = ORDER.model_copy(update={"order_id": f"order-{number}", "idempotency_key": f"key-{number}"})
        ack = await oms.emit(OMS_ORDERS_CREATED, order)
        await desk.dead_letter(ack.seq, consumer="my-consumer")


async def _stored(bus: EventBus) -> Counter[str]:
    """How often each order is stored."""
    history = await open_history(bus, "OMS_ORDERS")
    found = [Order.model_validate_json(each.wire.payload).order_id async for each in history.messages()]
    return Counter(name for name in found if name.startswith("order-"))


async def test_a_responder_is_killed_in_the_middle_of_a_requeue(chromium: Browser, desk: Secured) -> None:
    gate = desk.gate
    await _dead_letters(desk)
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(f"{desk.address}/deadletters")
    await sign_in(page, gate.token("olga", "operator"))
    await expect(page.get_by_role("heading", name=re.compile(f"^{_LETTERS} .* my-consumer"))).to_be_visible(
        timeout=LONG
    )
    await page.keyboard.press("r")
    await page.get_by_role("button", name=f"all {_LETTERS}").click()
    await page.get_by_label("why, for the audit log").fill("the bug is gone")
    await page.get_by_label(f"type requeue {_LETTERS}").fill(f"requeue {_LETTERS}")
    await expect(page.get_by_role("button", name=f"Requeue {_LETTERS}", exact=True)).to_be_enabled(timeout=LONG)
    await page.keyboard.press("Enter")
    progress = page.get_by_role("status", name="progress")
    await expect(progress).to_contain_text(re.compile(rf"[1-9] of {_LETTERS} done"), timeout=LONG)
    desk.acting[-1].kill()
    await desk.acting[-1].wait()
    assert 0 < await _left(desk) < _LETTERS  # in the middle
    await expect(progress).to_contain_text("no responder has written", timeout=LONG)

    await desk.start_acting()
    await expect(progress).to_contain_text(f"{_LETTERS} of {_LETTERS} done", timeout=LONG)
    await expect(progress).to_contain_text("finished")
    assert await _left(desk) == 0
    operations = await gate.locked.bus("mts1b-operations")
    assert await _stored(operations) == {f"order-{number}": 2 for number in range(_LETTERS)}
    await context.close()


async def _left(desk: Secured) -> int:
    return len(await letters(await desk.gate.locked.bus("mts1b-operations")))
