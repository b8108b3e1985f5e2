"""What somebody has to do at three in the morning, with the gestures counted."""

import asyncio
import re
from collections.abc import Callable

import pytest
from hands import Hands, Visit
from playwright.async_api import Page, expect
from scenery import ORDER
from stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

OnPage = Callable[[Page], Hands]
_THEIRS = re.compile("^37 .* treasury")
"""The heading of the largest group of dead letters, once they are there."""


async def test_a_stuck_order_is_explained_in_three_gestures(visit: Visit, hands: OnPage) -> None:
    page = await visit("/")
    hand = hands(page)
    await hand.press("Control+k")
    await hand.type(ORDER)
    await hand.press("Enter")
    owed = page.get_by_role("region", name="what is missing")
    await expect(owed).to_contain_text("waiting for brokers: fill, cancel or rejection")
    await expect(owed).to_contain_text("usually within 0.4 s")
    await expect(owed).to_contain_text("nobody reads it since")
    await expect(owed.get_by_role("link", name="consumer broker-orders")).to_be_visible()
    await expect(page.get_by_role("row", name="oms.orders.accepted")).to_contain_text("brokers ✖")
    await expect(page.get_by_text("not for your role")).to_be_visible()
    assert hand.gestures <= 3


async def test_a_halt_takes_two_gestures_and_says_who_obeyed_after_how_long(
    visit: Visit, hands: OnPage, stage: Stage
) -> None:
    page = await visit("/tail")
    hand = hands(page)
    await hand.press("Shift+H")
    await hand.press("Enter")
    halt = page.get_by_role("region", name="halt of every fund")
    await expect(halt).to_contain_text("oms after 31 ms, 17 orders withdrawn")
    await expect(halt).to_contain_text("nothing was accepted after it was stored")
    assert hand.gestures == 2
    assert [action for action, _ in stage.asked] == ["halt/request"]


async def test_a_halt_asked_for_while_the_page_asks_whom_it_is_for_is_one(visit: Visit, stage: Stage) -> None:
    stage.knows = asyncio.Event()
    page = await visit("/", until="main")
    await page.keyboard.press("Shift+H")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("wait until the console answers")).to_contain_text("Shift HEnter")
    assert not stage.asked
    stage.knows.set()
    await expect(page.get_by_role("region", name="halt of every fund")).to_be_visible()
    assert [action for action, _ in stage.asked] == ["halt/request"]


@pytest.mark.parametrize("signed_in", [True, False])
async def test_keys_that_wait_are_dropped_by_escape_and_when_somebody_else_signs_in(
    visit: Visit, stage: Stage, *, signed_in: bool
) -> None:
    stage.knows, stage.signed_in = asyncio.Event(), signed_in
    page = await visit("/", until="main")
    await page.keyboard.press("Shift+H")
    if signed_in:
        await page.keyboard.press("Escape")
    stage.knows.set()
    if not signed_in:
        await page.get_by_label("or paste a token").fill("good")
        stage.knows.clear()  # what is pressed while somebody signs in waits as well
        await page.get_by_role("button", name="Sign in").click()
    await page.keyboard.press("g")
    await page.keyboard.press("h")
    stage.knows.set()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Halts")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_halt_asked_for_again_after_a_lost_answer_is_one_halt(visit: Visit, stage: Stage) -> None:
    stage.lost_answers = 2
    page = await visit("/", expected="503")
    await page.keyboard.press("Shift+H")
    await page.keyboard.down("Enter")
    for _ in range(5):
        await page.keyboard.down("Enter")  # held down: repeats
    await expect(page.get_by_role("region", name="halt of every fund")).to_be_visible(timeout=8_000)
    assert len({body["request_id"] for _, body in stage.asked}) == 1
    assert len(stage.asked) == 3
    assert len(stage.state.halts) == 1


async def test_escape_leaves_everything_as_it_is(visit: Visit, stage: Stage) -> None:
    page = await visit("/")
    await page.keyboard.press("Shift+H")
    await expect(page.get_by_role("dialog", name="halt trading")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert not stage.asked


async def test_a_halt_key_in_a_text_field_is_text(visit: Visit) -> None:
    page = await visit("/events")
    await page.get_by_role("combobox", name="query").focus()
    await page.keyboard.press("Shift+H")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("Alt+Shift+H")
    await expect(page.get_by_role("dialog", name="halt trading")).to_be_visible()


async def test_a_halt_is_cleared_with_a_reason_and_typed_words_only(visit: Visit, stage: Stage) -> None:
    page = await visit("/halts")
    await page.keyboard.press("Shift+H")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Clear").click()
    dialog = page.get_by_role("dialog", name="Clear the halt of every fund")
    await expect(dialog).to_contain_text("brokers is away")
    resume = dialog.get_by_role("button", name="Resume all")
    await expect(resume).to_be_disabled()
    await dialog.get_by_label("why, for the audit log").fill("too short")
    await dialog.get_by_label("type resume all to confirm").fill("resume all")
    await expect(resume).to_be_disabled()
    await dialog.get_by_label("why, for the audit log").fill("the broker is back and the books agree")
    await resume.click()
    await expect(page.get_by_text("No halt is in force: trading runs.")).to_be_visible()
    assert stage.asked[-1][1]["typed"] == "resume all"


async def test_a_poison_message_is_understood_and_requeued_one_first_in_seven_gestures(
    visit: Visit, hands: OnPage, stage: Stage
) -> None:
    page = await visit("/")
    hand = hands(page)
    await hand.click(page.get_by_role("link", name="dead letters treasury 37"))
    await expect(page.get_by_text("would pass now, by the models of this console: 0 of 37")).to_be_visible()
    await expect(page.get_by_role("region", name="the letter")).to_contain_text("ZeroDivisionError")
    await hand.press("r")
    await expect(page.get_by_role("dialog")).to_contain_text("this will fail")
    await hand.type("oms/3 is rolled back")
    await hand.type("requeue 37", tab=True)
    await hand.press("Enter")
    progress = page.get_by_role("status", name="progress")
    await expect(progress).to_contain_text("1 of 37 done")
    assert [body["first"] for _, body in stage.asked] == [1]
    await hand.click(progress.get_by_role("button", name="Requeue the other 36"))
    await expect(progress).to_contain_text("37 of 37 done", timeout=8_000)
    assert hand.gestures <= 7
    assert [body.get("order") for _, body in stage.asked] == [None, "go-on"]
    assert stage.state.letters == []


async def test_a_requeue_that_loses_its_answer_does_nothing_twice(visit: Visit, stage: Stage) -> None:
    page = await visit("/deadletters", expected="503")
    await expect(page.get_by_role("heading", name=_THEIRS)).to_be_visible()
    await page.keyboard.press("r")
    await page.get_by_role("button", name="all 37").click()
    await page.get_by_label("why, for the audit log").fill("oms/3 is rolled back")
    await page.get_by_label("type requeue 37").fill("requeue 37")
    stage.lost_answers = 1
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status", name="progress")).to_contain_text("37 of 37 done", timeout=15_000)
    assert [len(run.ids) for run in stage.state.runs] == [37]


async def test_a_discard_can_be_taken_back(visit: Visit, stage: Stage) -> None:
    page = await visit("/deadletters")
    await expect(page.get_by_role("heading", name=_THEIRS)).to_be_visible()
    await page.keyboard.press("d")
    await page.get_by_label("why, for the audit log").fill("test data of yesterday")
    await page.get_by_label("type discard 37").fill("discard 37")
    await page.keyboard.press("Enter")
    undo = page.get_by_role("button", name="Undo: restore 37")
    await expect(undo).to_be_visible(timeout=8_000)
    assert stage.state.letters == []
    await page.get_by_text("Discarded within seven days").click()
    await expect(page.get_by_role("region", name="discarded letters").get_by_role("row")).to_have_count(38)
    await undo.click()
    await expect(page.get_by_role("status", name="progress")).to_contain_text("restore for treasury", timeout=8_000)
    await expect(page.get_by_role("heading", name=_THEIRS)).to_be_visible(timeout=8_000)
    assert len(stage.state.letters) == 37


async def test_a_run_goes_on_whoever_looks_and_is_shown_to_everybody(visit: Visit, stage: Stage) -> None:
    page = await visit("/deadletters", alone=True)
    await expect(page.get_by_role("heading", name=_THEIRS)).to_be_visible()
    await page.keyboard.press("r")
    await page.get_by_label("why, for the audit log").fill("oms/3 is rolled back")
    await page.get_by_label("type requeue 37").fill("requeue 37")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status", name="progress")).to_contain_text("1 of 37 done")
    await page.context.close()
    page = await visit("/deadletters", alone=True)  # another browser: nothing is kept in the first one
    await expect(page.get_by_role("status", name="progress")).to_contain_text("begun by olga")
    await page.get_by_role("button", name="Requeue the other 36").click()
    await expect(page.get_by_role("status", name="progress")).to_contain_text("37 of 37 done", timeout=8_000)
    assert stage.state.letters == []


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ("slow consumer", ["no pull waits: nobody reads", "OMS_ORDERS:12032", "mts1b-brokers", "41 s"]),
        ("discard risk", ["research-bars", "max_bytes", "90 min"]),
        ("certificate expiry", ["mts1b-deploy pki rotate --due", "mts1b-oms.pem expires in 6 days"]),
    ],
)
async def test_a_cause_is_one_gesture_away(visit: Visit, hands: OnPage, thing: str, says: list[str]) -> None:
    page = await visit("/")
    hand = hands(page)
    await hand.click(page.get_by_role("link", name=thing))
    for words in says:
        await expect(page.get_by_role("main")).to_contain_text(words)
    assert hand.gestures == 1


async def test_the_worst_opens_with_enter(visit: Visit) -> None:
    page = await visit("/")
    await page.get_by_text("6 things need you").wait_for()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="broker-orders on OMS_ORDERS")).to_be_visible()


async def test_a_mismatch_after_a_deploy_says_what_was_wanted_and_what_came(visit: Visit) -> None:
    page = await visit("/deadletters?group=g1")
    letter = page.get_by_role("region", name="the letter")
    await expect(letter).to_contain_text(
        "wanted mts1b_foundation.orders.Order:v1 · got mts1b_foundation.orders.Order:v2"
    )
    await page.goto(page.url.replace("/deadletters?group=g1", "/schemas/mts1b_foundation.orders.Order:v2"))
    await expect(page.get_by_role("main")).to_contain_text("✖ breaking")


async def test_every_page_is_reached_and_left_by_keys(visit: Visit) -> None:
    page = await visit("/")
    for key, heading in {
        "o": "Orders",
        "h": "Halts",
        "e": "Explore",
        "d": "Dead letters",
        "c": "Consumers",
        "n": "Now",
    }.items():
        await page.keyboard.press("g")
        await page.keyboard.press(key)
        await expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="keys")).to_contain_text("halt trading")


async def test_the_address_gives_the_page_again(visit: Visit) -> None:
    page = await visit("/orders")
    await page.get_by_role("button", name="rejected").click()
    await page.get_by_label("narrow the orders").fill("beta")
    await page.get_by_role("button", name="quantity").click()
    rows = await page.locator("tbody tr").all_inner_texts()
    again = await visit(page.url.split("/", 3)[3].join(["/", ""]))
    await expect(again.locator("tbody tr")).to_have_count(len(rows))
    await expect(again.get_by_label("narrow the orders")).to_have_value("beta")
    await expect(again.get_by_role("button", name="rejected")).to_have_attribute("aria-pressed", "true")


async def test_an_alert_is_looked_after_with_a_note(visit: Visit, stage: Stage) -> None:
    page = await visit("/alerts")
    await expect(page.get_by_text("Nobody has said that they look after it.")).to_be_visible()
    await page.keyboard.press("w")
    await page.keyboard.insert_text("the broker's host is being restarted")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="A consumer is behind")).to_contain_text("olga looks after it since")
    await expect(page.get_by_role("region", name="A consumer is behind")).to_contain_text("host is being restarted")
    assert [action for action, _ in stage.asked] == ["alerts/acknowledge"]


async def test_what_is_known_of_dead_letters_is_noted_and_seen_by_whoever_looks(visit: Visit, stage: Stage) -> None:
    page, other = await visit("/deadletters"), await visit("/deadletters")
    await page.get_by_role("heading", name=_THEIRS).wait_for()
    await page.keyboard.press("n")
    await page.keyboard.insert_text("known: venue X was down, wait until Monday")
    await page.keyboard.press("Enter")
    for each in (page, other):
        await expect(each.get_by_role("region", name="group: treasury")).to_contain_text("olga, ")
        await expect(each.get_by_role("region", name="group: treasury")).to_contain_text("wait until Monday")
        await expect(each.get_by_role("region", name="groups of dead letters")).to_contain_text("olga: known: venue X")
    await page.keyboard.press("n")
    await page.get_by_role("button", name=re.compile("^OMS_ORDERS:12086 only")).click()
    await page.get_by_label("what is known").fill("<b>not</b> \u202ethis\x01 one")
    await page.keyboard.press("Enter")
    await expect(other.get_by_role("region", name="the letter")).to_contain_text("<b>not</b> ⟨U+202E⟩this␁ one")
    assert [body["about"] for _, body in stage.asked] == ["g1", "OMS_ORDERS:12086:treasury"]


async def test_a_query_is_completed_with_fields_their_values_and_subjects(visit: Visit) -> None:
    page = await visit("/events")
    query = page.get_by_role("combobox", name="query")

    async def offered(typed: str, *wanted: str) -> None:
        await query.fill(typed)
        options = page.locator("datalist#words option")
        for each in wanted:
            await expect(options.and_(page.locator(f'[value="{each}"]'))).to_have_count(1)

    await offered("fund:alpha quan", "fund:alpha quantity:")
    await offered("-side:", "-side:buy", "-side:sell")
    await offered("subject:mts.v1.oms.fi", "subject:mts.v1.oms.fills.created")
