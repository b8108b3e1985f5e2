"""People look things up and have things done, over their own connections; what they may not, they are told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from locked_server import PATIENCE
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.operations import AlertSeverity
from mts1b_foundation.samples import ALERT, HALT_REQUEST, ORDER
from mts1b_foundation.subjects import (
    BROKERS_HALT_STOPPED,
    OMS_ORDERS_CREATED,
    OPERATIONS_ALERTS_CLEARED,
    OPERATIONS_ALERTS_RAISED,
    TREASURY_DEADLETTERS_CREATED,
)
from mts1b_operations.auth.roles import Role
from mts1b_operations.deadletters import grouped, letters
from mts1b_operations.deadletters.notes import notes
from mts1b_operations.halt import halts_in_force
from mts1b_operations.monitor.standing import Standing, alerts_in_force
from mts1b_operations.people.act import Acts
from mts1b_operations.people.actions import RequestHalt
from mts1b_operations.people.asked import Asked, Declined, Scope
from mts1b_operations.people.asking import Unanswered, act, look, preview
from mts1b_operations.people.serve import acting, looking
from mts1b_operations.people.views import clear, halts
from mts1b_platform.eventbus import AccessDenied, EventBus
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.observability.audit import search
from mts1b_platform.service.requeue import answer_requeues
from people import Gate

# nats-py 2.16 calls aiohttp in a way that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")

ALPHA = Scope("alpha")
WHY = "prices look wrong"


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    return tmp_path / "audit"


@pytest_asyncio.fixture
async def responders(gate: Gate, audit: Path) -> AsyncIterator[AsyncExitStack]:  # noqa: ARG001 - it is set before
    """`mts1b look serve` and `mts1b act serve`, in this process."""
    options: dict[str, Any] = {"servers": gate.locked.url, "config": gate.locked.empty_config()}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(looking(**options))
        await stack.enter_async_context(acting(**options))
        yield stack


@pytest_asyncio.fixture
async def olga(gate: Gate, responders: AsyncExitStack) -> EventBus:  # noqa: ARG001 - she asks them
    return await gate.let_in(gate.token("olga", "operator"))


async def dead_letter(gate: Gate, number: int = 1) -> DeadLetter:
    """The letter of an order that the OMS has published, as the treasury dead-letters it."""
    oms, treasury = await gate.locked.bus("mts1b-oms"), await gate.locked.bus("mts1b-treasury")
    ack = await oms.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"idempotency_key": f"key-{number}"}))
    held = await read_stored(oms, ack.stream, seq=ack.seq)
    assert held is not None
    letter = DeadLetter.of_stored(
        subject=ack.subject, headers=held.wire.headers.readable(), payload=held.wire.payload,
        stream=ack.stream, sequence=ack.seq, stored_at=held.time,
        consumer="my-consumer", deliveries=1, reason=DeadLetterReason.REJECTED, error="a bug",
    )  # fmt: skip
    await treasury.emit(TREASURY_DEADLETTERS_CREATED, letter)
    return letter


async def test_a_person_halts_a_fund_sees_it_and_clears_it(olga: EventBus, audit: Path):
    done = await act(olga, "halt.request", ALPHA, reason=WHY)
    assert (done["by"], done["halt"]["fund_id"], done["halt"]["actor"]) == ("olga", "alpha", "olga")
    (seen,) = (await look(olga, "halts"))["halts"]
    assert seen["request"]["halt_id"] == done["halt"]["halt_id"]
    halt_id = done["halt"]["halt_id"]
    shown = await preview(olga, "halt.clear", ALPHA, halt_id=halt_id)
    assert "ends the halt of fund alpha that olga requested (prices look wrong)" in shown["preview"]
    await act(olga, "halt.clear", ALPHA, halt_id=halt_id, digest=shown["digest"], reason="prices checked")
    assert await halts_in_force(olga) == ()
    found = [(each["action"], each["actor"], each["reason"]) for each in search(audit, kind="action")]
    assert found == [
        ("halt.request", "olga", WHY),
        ("halt.requested", "olga", WHY),
        ("act.halt.clear", "olga", "prices checked"),
        ("halt.clear", "olga", "prices checked"),
    ]


async def test_an_adapter_that_was_stopped_on_its_host_is_shown_as_that_and_not_cleared_from_elsewhere(
    gate: Gate, olga: EventBus
):
    brokers = await gate.locked.bus("mts1b-brokers")
    await brokers.emit(BROKERS_HALT_STOPPED, HALT_REQUEST)
    (seen,) = await halts(olga)
    assert (seen.on_host, seen.scope) == (True, "the adapter on its host")
    with pytest.raises(Declined, match="mts1b halt here --clear"):
        await clear(olga, HALT_REQUEST.halt_id, reason="the books agree again", actor="olga")


async def test_a_request_that_is_sent_twice_is_one_halt_also_after_its_end(olga: EventBus):
    first = await act(olga, "halt.request", ALPHA, request_id="request-1", reason=WHY)
    again = await act(olga, "halt.request", ALPHA, request_id="request-1", reason=WHY)
    assert again == {**first, "again": True}
    halt_id = first["halt"]["halt_id"]
    shown = await preview(olga, "halt.clear", ALPHA, halt_id=halt_id)
    await act(olga, "halt.clear", ALPHA, halt_id=halt_id, digest=shown["digest"], reason="prices checked")
    await act(olga, "halt.request", ALPHA, request_id="request-1", reason=WHY)
    assert await halts_in_force(olga) == ()


async def test_a_request_id_of_somebody_else_or_for_something_else_is_refused(gate: Gate, olga: EventBus):
    await act(olga, "halt.request", ALPHA, request_id="request-1", reason=WHY)
    otto = await gate.let_in(gate.token("otto", "operator"))
    for person, scope, reason in ((otto, ALPHA, WHY), (olga, Scope(), WHY), (olga, ALPHA, "another reason")):
        with pytest.raises(Declined, match="this request id was used for another request"):
            await act(person, "halt.request", scope, request_id="request-1", reason=reason)
    assert len(await halts_in_force(olga)) == 1


async def test_what_adds_risk_is_done_only_as_it_was_shown_and_with_a_reason(gate: Gate, olga: EventBus):
    first, second = await dead_letter(gate, 1), await dead_letter(gate, 2)
    ids = [first.dead_letter_id, second.dead_letter_id]
    shown = await preview(olga, "deadletters.discard", ids=ids)
    assert shown["preview"] == "discards 2 dead letters; for a week they can be restored"
    for changes, words in (
        ({"digest": "0" * 32}, "it is not what was shown any more"),
        ({"reason": "short"}, "needs 'reason', a text of 10"),
        ({"ids": ids[:1]}, "it is not what was shown any more"),
        ({"ids": [*ids, "OMS_ORDERS:9:x"]}, "there is no dead letter OMS_ORDERS:9:x"),
        ({"ids": ids * 51}, "a list of at most 100"),
    ):
        asked: dict[str, Any] = {"ids": ids, "digest": shown["digest"], "reason": "booked by hand", **changes}
        with pytest.raises(Declined, match=words):
            await act(olga, "deadletters.discard", **asked)
    assert len((await look(olga, "deadletters"))["deadletters"]) == 2
    done = await act(olga, "deadletters.discard", ids=ids, digest=shown["digest"], reason="booked by hand")
    assert [each["id"] for each in done["done"]] == ids
    assert (await look(olga, "deadletters", consumer="my-consumer"))["deadletters"] == []


async def test_a_person_requeues_and_the_owner_of_the_event_publishes_it(gate: Gate, olga: EventBus, audit: Path):
    letter = await dead_letter(gate)
    await answer_requeues(await gate.locked.bus("mts1b-oms"))
    asked: dict[str, Any] = {"ids": [letter.dead_letter_id], "to": "consumer"}
    shown = await preview(olga, "deadletters.requeue", ALPHA, **asked)
    done = await act(olga, "deadletters.requeue", ALPHA, digest=shown["digest"], reason="the bug is gone", **asked)
    assert done["refused"] == []
    assert "now OMS_ORDERS:2" in done["done"][0]["detail"]
    actions = [(each["action"], each["actor"]) for each in search(audit, kind="action")]
    assert actions == [(f"{name}", "olga") for name in (
        "act.deadletters.requeue", "deadletters.requeue", "deadletters.requeued",
    )]  # fmt: skip


async def test_a_person_takes_a_discard_back_within_the_own_fund(gate: Gate, olga: EventBus, audit: Path):
    letter = await dead_letter(gate)
    ids = [letter.dead_letter_id]
    shown = await preview(olga, "deadletters.discard", ids=ids)
    assert shown["preview"] == "discards 1 dead letters; for a week they can be restored"
    await act(olga, "deadletters.discard", ids=ids, digest=shown["digest"], reason="booked by hand")
    assert await letters(olga) == []
    refused = await act(olga, "deadletters.restore", Scope("beta"), ids=ids)
    assert refused["refused"] == [{"id": ids[0], "why": f"{ids[0]}: is a letter of another fund"}]
    done = await act(olga, "deadletters.restore", ALPHA, ids=ids)
    assert (done["done"], done["refused"]) == ([{"id": ids[0], "detail": "now DEADLETTERS:2"}], [])
    assert [found.letter for found in await letters(olga)] == [letter]
    assert [each["actor"] for each in search(audit, action="deadletters.restored")] == ["olga"]


async def test_the_server_confines_a_desk_to_its_fund(gate: Gate, responders: AsyncExitStack):
    del responders
    gate.roles["desk"] = Role(
        "desk", ("mts.v1.oms.orders.*.fund.alpha",), looks=("halts.fund.alpha",), acts=("halt.request.fund.alpha",)
    )
    dora = await gate.let_in(gate.token("dora", "desk"))
    await act(dora, "halt.request", ALPHA, reason=WHY)
    assert len((await look(dora, "halts", ALPHA))["halts"]) == 1
    refused = (
        ("halt.request", Scope()), ("halt.request", Scope("beta")), ("halt.clear", ALPHA),
        ("deadletters.discard", ALPHA),
    )  # fmt: skip
    for what, scope in refused:
        with pytest.raises(AccessDenied, match="dora may not publish"):
            await act(dora, what, scope, reason=WHY)
    for what, scope in (("halts", Scope()), ("halts", Scope("beta")), ("consumers", Scope())):
        with pytest.raises(AccessDenied, match="dora may not publish"):
            await look(dora, what, scope)


async def test_an_action_is_not_done_beyond_the_fund_that_the_subject_names(gate: Gate, responders: AsyncExitStack):
    """The subject is allowed; the halt or the letter that the payload names is another fund's."""
    del responders
    gate.roles["desk"] = Role(
        "desk", ("mts.v1.oms.orders.*.fund.beta",), looks=("halts.fund.beta",),
        acts=("halt.*.fund.beta", "deadletters.*.fund.beta"),
    )  # fmt: skip
    bea, olga = await gate.let_in(gate.token("bea", "desk")), await gate.let_in(gate.token("olga", "operator"))
    letter = await dead_letter(gate)
    halts = [(await act(olga, "halt.request", scope, reason=WHY))["halt"]["halt_id"] for scope in (ALPHA, Scope())]
    for halt_id in halts:
        with pytest.raises(Declined, match=r"no halt .* of fund beta is in force"):
            await preview(bea, "halt.clear", Scope("beta"), halt_id=halt_id)
    for what in ("deadletters.requeue", "deadletters.discard"):
        with pytest.raises(Declined, match=r"there is no dead letter .* of fund beta"):
            await preview(bea, what, Scope("beta"), ids=[letter.dead_letter_id])
    assert [each["request"]["fund_id"] for each in (await look(bea, "halts", Scope("beta")))["halts"]] == [None]


async def test_a_person_notes_what_is_known_of_letters_and_everybody_sees_it(gate: Gate, olga: EventBus, audit: Path):
    letter, other = await dead_letter(gate, 1), await dead_letter(gate, 2)
    otto = await gate.let_in(gate.token("otto", "operator"))
    (group,) = grouped(await letters(olga))
    shown = await preview(olga, "deadletters.note", about=group.key, note="wait until Monday")
    assert shown["preview"] == f"writes a note on the 2 dead letters of group {group.key}"
    for _ in range(2):
        await act(olga, "deadletters.note", request_id="request-1", about=group.key, note="wait until Monday")
    await act(olga, "deadletters.note", ALPHA, about=other.dead_letter_id, note="<b>not\x00 this one")
    seen = await notes(otto)
    assert {about: (said.actor, said.text) for about, said in seen.items()} == {
        group.key: ("olga", "wait until Monday"), other.dead_letter_id: ("olga", "<b>not\x00 this one"),
    }  # fmt: skip
    rows = {each["dead_letter_id"]: each["note"] for each in (await look(otto, "deadletters"))["deadletters"]}
    assert rows[letter.dead_letter_id]["text"] == "wait until Monday"
    assert rows[other.dead_letter_id]["text"] == "<b>not\x00 this one"
    written = [(each["actor"], each["about"]) for each in search(audit, action="deadletters.note")]
    assert written == [("olga", group.key), ("olga", other.dead_letter_id)]
    await act(otto, "deadletters.note", about=group.key, note="")
    assert list(await notes(olga)) == [other.dead_letter_id]


async def test_a_note_is_refused_for_what_is_not_there_or_of_another_fund_and_when_it_is_too_long(
    gate: Gate, olga: EventBus, responders: AsyncExitStack
):
    del responders
    letter = await dead_letter(gate)
    (group,) = grouped(await letters(olga))
    for scope, about, text, words in (
        (Scope(), "OMS_ORDERS:9:x", "known", "there is no dead letter and no group"),
        (Scope("beta"), letter.dead_letter_id, "known", "of fund beta alone"),
        (Scope("beta"), group.key, "known", "of fund beta alone"),
        (Scope(), group.key, "x" * 2001, "a text of 0 to 2000 letters"),
        (Scope(), group.key, "half \ud800", "holds half a character"),
    ):
        with pytest.raises(Declined, match=words):
            await act(olga, "deadletters.note", scope, about=about, note=text)
    gate.roles["reader"] = Role("reader", ("mts.*.*.deadletters.>",))
    rita = await gate.let_in(gate.token("rita", "reader"))
    with pytest.raises(AccessDenied, match="rita may not publish"):
        await act(rita, "deadletters.note", about=group.key, note="known")
    assert await notes(rita) == {}


async def test_a_person_acknowledges_an_alert_until_it_gets_worse(olga: EventBus, gate: Gate, audit: Path):
    operations = await gate.locked.bus("mts1b-operations")
    mild = ALERT.model_copy(update={"severity": AlertSeverity.WARNING})
    await operations.emit(OPERATIONS_ALERTS_RAISED, mild)
    shown = await preview(olga, "alerts.acknowledge", alert_id=mild.alert_id)
    assert shown["preview"] == "says that olga looks after slow_consumer of OMS_FILLS/treasury"
    for _ in range(2):
        await act(olga, "alerts.acknowledge", request_id="request-1", alert_id=mild.alert_id, note="restarting it")
    (standing,) = await alerts_in_force(operations)
    assert standing.acknowledged is not None
    assert (standing.acknowledged.actor, standing.acknowledged.note) == ("olga", "restarting it")
    (row,) = (await look(olga, "alerts", at="now"))["alerts"]
    assert (row["alert_id"], row["acknowledged"]["actor"]) == (mild.alert_id, "olga")
    (written,) = search(audit, action="alerts.acknowledge")
    assert (written["actor"], written["alert_id"]) == ("olga", mild.alert_id)
    await operations.emit(OPERATIONS_ALERTS_RAISED, ALERT)
    assert await alerts_in_force(operations) == [Standing(ALERT, None)]
    await operations.emit(OPERATIONS_ALERTS_CLEARED, ALERT.model_copy(update={"cleared_at": ALERT.raised_at}))
    with pytest.raises(Declined, match="is not in force"):
        await act(olga, "alerts.acknowledge", alert_id=ALERT.alert_id)
    with pytest.raises(Declined, match="about the whole bus"):
        await preview(olga, "alerts.acknowledge", ALPHA, alert_id=ALERT.alert_id)


async def test_nobody_but_a_role_with_acts_has_anything_done(gate: Gate, responders: AsyncExitStack):
    del responders
    for role in ("market", "auditor"):
        person = await gate.let_in(gate.token(f"some-{role}", role))
        with pytest.raises(AccessDenied):
            await act(person, "halt.request", reason=WHY)
    alice = await gate.let_in(gate.token("alice", "trader"))
    with pytest.raises(AccessDenied):
        await preview(alice, "halt.clear", halt_id="halt-1")
    with pytest.raises(AccessDenied):
        await look(alice, "audit", action="halt")


async def test_a_forged_request_info_of_a_person_is_replaced_by_the_server(olga: EventBus):
    """She may send any header that she likes."""
    forged = {"Nats-Request-Info": json.dumps({"acc": "HUMANS", "user": "ceo"})}
    body = json.dumps({"request_id": "request-1", "reason": WHY}).encode()
    answer = await olga.request("act.v1.halt.request.all", body, timeout=PATIENCE, headers=forged)
    assert json.loads(answer.data)["by"] == "olga"
    assert [halt.request.actor for halt in await halts_in_force(olga)] == ["olga"]


def all_refused(attacker: Any, count: int) -> bool:
    return len(attacker.refused) == count


async def test_no_service_asks_in_the_name_of_a_person_and_no_responder_publishes_anything(
    gate: Gate, responders: AsyncExitStack
):
    """Within the responders' own account the server would not replace a forged header."""
    del responders
    forged = {"Nats-Request-Info": json.dumps({"acc": "HUMANS", "user": "olga"})}
    body = b'{"request_id": "request-1", "reason": "x"}'
    asks = ("act.v1.halt.request.all", "look.v1.halts.all")
    publishes = (*asks, "mts.v1.oms.orders.created", "_INBOX.x", "svc.v1.oms.hold")
    for service, subjects in (
        ("mts1b-research", asks),
        ("mts1b-operations", asks),
        ("mts1b-look", publishes),
        ("mts1b-act", publishes),
        ("mts1b-reader", publishes),
    ):
        attacker = await gate.locked.raw(service)
        for subject in subjects:
            await attacker.publish(subject, body, headers=forged)
        await gate.locked.until(partial(all_refused, attacker, len(subjects)))
    assert await halts_in_force(await gate.locked.bus("mts1b-operations")) == ()


async def test_a_halt_is_not_held_up_by_bookkeeping_and_nothing_else_goes_without_it(
    gate: Gate, olga: EventBus, audit: Path
):
    letter = await dead_letter(gate)
    ids = [letter.dead_letter_id]
    shown = await preview(olga, "deadletters.discard", ids=ids)
    audit.rename(audit.with_name("moved"))  # noqa: ASYNC240 - a test's file
    audit.write_text("no directory")  # noqa: ASYNC240
    with pytest.raises(Declined, match="it cannot be written down"):
        await act(olga, "deadletters.discard", ids=ids, digest=shown["digest"], reason="booked by hand")
    admin = await gate.locked.raw("mts1b-deploy")
    await admin.jetstream().delete_stream("KV_MTS1B_DEDUPE")
    await act(olga, "halt.request", ALPHA, reason=WHY)
    assert len(await halts_in_force(olga)) == 1
    assert len((await look(olga, "deadletters"))["deadletters"]) == 1


async def test_a_responder_killed_between_the_record_and_the_act_is_gone_on_with_once(
    gate: Gate, olga: EventBus, responders: AsyncExitStack, audit: Path, monkeypatch: pytest.MonkeyPatch
):
    letter = await dead_letter(gate)
    await answer_requeues(await gate.locked.bus("mts1b-oms"))
    asked: dict[str, Any] = {"ids": [letter.dead_letter_id], "reason": "the bug is gone", "request_id": "request-1"}
    asked["digest"] = (await preview(olga, "deadletters.requeue", ids=asked["ids"]))["digest"]
    operations = await gate.locked.bus("mts1b-operations")
    question = Asked("olga", "", "deadletters.requeue", Scope(), asked)

    async def killed(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    for place in ("mts1b_operations.people.letter_actions.requeue", "mts1b_operations.people.once.Requests.finish"):
        with monkeypatch.context() as patch:
            patch.setattr(place, killed)
            with pytest.raises(asyncio.CancelledError):
                await Acts(operations).answer(question)
    done = await act(olga, "deadletters.requeue", **asked)
    assert (done["refused"], [each["id"] for each in done["done"]]) == ([], asked["ids"])
    assert await read_stored(operations, "OMS_ORDERS", seq=3) is None
    assert await read_stored(operations, "OMS_ORDERS", seq=2) is not None
    del responders, audit


async def test_two_responders_that_are_asked_the_same_at_once_act_once(gate: Gate, olga: EventBus):
    letter = await dead_letter(gate)
    await answer_requeues(await gate.locked.bus("mts1b-oms"))
    asked: dict[str, Any] = {"ids": [letter.dead_letter_id], "reason": "the bug is gone", "request_id": "request-1"}
    asked["digest"] = (await preview(olga, "deadletters.requeue", ids=asked["ids"]))["digest"]
    operations = [await gate.locked.bus("mts1b-operations") for _ in range(3)]
    question = Asked("olga", "", "deadletters.requeue", Scope(), asked)
    halting = Asked("olga", "", "halt.request", ALPHA, {"reason": WHY, "request_id": "request-2"})
    acts = [Acts(bus) for bus in operations]
    requeued = await asyncio.gather(*(each.answer(question) for each in acts))
    halted = await asyncio.gather(*(each.answer(halting) for each in acts))
    assert all(each["refused"] == [] for each in requeued)
    assert await read_stored(operations[0], "OMS_ORDERS", seq=2) is not None
    assert await read_stored(operations[0], "OMS_ORDERS", seq=3) is None
    assert len({each["halt"]["halt_id"] for each in halted}) == 1
    assert len(await halts_in_force(operations[0])) == 1


async def test_a_request_that_is_repeated_while_it_is_at_work_waits_for_its_answer(
    olga: EventBus, monkeypatch: pytest.MonkeyPatch
):
    release, begun = asyncio.Event(), asyncio.Event()
    do = RequestHalt.do

    async def slow(*arguments: Any, **named: Any) -> Any:
        begun.set()
        await release.wait()
        return await do(*arguments, **named)

    monkeypatch.setattr(RequestHalt, "do", slow)
    first = asyncio.create_task(act(olga, "halt.request", ALPHA, request_id="request-1", reason=WHY))
    await begun.wait()
    again = asyncio.create_task(act(olga, "halt.request", ALPHA, request_id="request-1", reason=WHY))
    done, _ = await asyncio.wait([again], timeout=0.5)
    assert not done
    release.set()
    assert (await first)["halt"] == (await again)["halt"]
    assert len(await halts_in_force(olga)) == 1


async def test_without_a_responder_a_person_is_told_and_nothing_was_done(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mts1b_operations.people.asking._AGAIN", 0.3)
    olga = await gate.let_in(gate.token("olga", "operator"))
    with pytest.raises(Unanswered, match=r"nobody answers, so nothing was done\. Is `mts1b act serve` running"):
        await act(olga, "halt.request", reason=WHY)
    with pytest.raises(Unanswered, match="is `mts1b look serve` running"):
        await look(olga, "halts")


async def test_too_many_too_large_and_too_slow_questions_are_declined_in_words_and_hurt_nobody_else(
    gate: Gate, olga: EventBus, monkeypatch: pytest.MonkeyPatch
):
    release = asyncio.Event()

    async def slow(_self: object, _bus: EventBus, asked: Asked) -> Any:
        if asked.by == "mallory":
            await release.wait()
        raise Declined("test", "at last")

    monkeypatch.setattr(RequestHalt, "preview", slow)
    mallory = await gate.let_in(gate.token("mallory", "operator"))
    waiting = [
        asyncio.create_task(mallory.request("act.v1.halt.request.all", b'{"preview": true}', timeout=PATIENCE))
        for _ in range(17)
    ]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
    (busy,) = (json.loads(each.result().data)["error"] for each in done)
    assert busy["message"] == "mallory has 16 questions under way"
    with pytest.raises(Declined, match="at last"):
        await preview(olga, "halt.request")
    release.set()
    await asyncio.gather(*waiting)
    for subject, body, words in (
        ("look.v1.halts.all", b"[1]", "no JSON object"),
        ("look.v1.halts.all", b"{" * 2000, "no JSON object"),
        ("look.v1.halts.all", b"\xff", "no JSON object"),
        ("look.v1.halts.fund", b"", "does not end in .all or .fund"),
        ("look.v1.halts.fund.a=b", b"", "is no encoded subject token"),
        ("look.v1.deadletters.more.all", b"", "nothing to look up as"),
        ("look.v1.survey.fund.alpha", b"", "is about the whole bus"),
    ):
        answer = await olga.request(subject, body, timeout=PATIENCE)
        assert words in json.loads(answer.data)["error"]["message"]


async def test_a_look_that_is_slow_or_large_is_bounded_and_says_so(
    gate: Gate, olga: EventBus, monkeypatch: pytest.MonkeyPatch
):
    for number in range(3):
        await dead_letter(gate, number)
    found = await look(olga, "deadletters", error="a bug")
    assert (len(found["deadletters"]), found["complete"]) == (3, True)
    with monkeypatch.context() as patch:
        patch.setattr("mts1b_operations.people.looks.LONGEST", 0.0)
        found = await look(olga, "deadletters", error="a bu")
        assert (len(found["deadletters"]), found["complete"]) == (1, False)
    with monkeypatch.context() as patch:
        patch.setattr("mts1b_operations.people.responder._ROOM", 1024 * 1024 - 500)  # of a message at most
        with pytest.raises(Declined, match=r"the answer has \d+ bytes, more than"):
            await look(olga, "deadletters", error="a b")
    asked = json.dumps({"error": "x" * 63_000}).encode()
    answer = await olga.request("look.v1.deadletters.all", asked, timeout=PATIENCE)
    assert "a text of 0 to 2000 letters" in json.loads(answer.data)["error"]["message"]


async def test_what_was_looked_up_is_kept_for_a_second_for_everybody(
    gate: Gate, olga: EventBus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mts1b_operations.people.looks.KEPT", float(PATIENCE))
    first = await look(olga, "consumers")
    alice = await gate.let_in(gate.token("alice", "risk"))
    assert (await look(alice, "consumers"))["read_at"] == first["read_at"]
