"""Attack table, second part: a service that was taken over, doing with its certificate what it may not.

The attacker uses plain nats-py, none of our code. Each attempt is refused by the server and logged there.
"""

import asyncio
import json
from typing import Any

import pytest
from locked_server import PATIENCE, Locked
from mts1b_deploy.permissions import all_permissions
from mts1b_foundation.samples import NAV, ORDER, QUOTE
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
)
from mts1b_platform.eventbus import AccessDenied, EventBus
from mts1b_platform.eventbus import bus as bus_module
from mts1b_platform.eventbus.connect import connect
from mts1b_platform.eventbus.connection.messages import Message
from mts1b_platform.eventbus.errors import NoResponders
from nats.aio.client import Client

DURABLE = "OMS_ORDERS.my-consumer"

PUBLISHES = {
    "another's event": "mts.v1.oms.orders.created",
    "another's event of a fund": "mts.v1.oms.orders.created.fund.alpha",
    "another's event of a version to come": "mts.v2.oms.orders.created",
    "another's dead letter": "mts.v1.oms.deadletters.created",
    "an unregistered prefix": "mts.v1.payments.orders.created",
    "acking for another": f"$JS.ACK.{DURABLE}.1.1.1.1.0",
    "pulling for another": f"$JS.API.CONSUMER.MSG.NEXT.{DURABLE}",
    "pausing another's consumer": f"$JS.API.CONSUMER.PAUSE.{DURABLE}",
    "resetting another's consumer": f"$JS.API.CONSUMER.RESET.{DURABLE}",
    "deleting another's consumer": f"$JS.API.CONSUMER.DELETE.{DURABLE}",
    "creating a consumer": "$JS.API.CONSUMER.CREATE.OMS_ORDERS.spy",
    "creating a consumer, older call": "$JS.API.CONSUMER.DURABLE.CREATE.OMS_ORDERS.spy",
    "purging a stream": "$JS.API.STREAM.PURGE.OMS_ORDERS",
    "deleting a stream": "$JS.API.STREAM.DELETE.OMS_ORDERS",
    "changing a stream": "$JS.API.STREAM.UPDATE.OMS_ORDERS",
    "creating a stream": "$JS.API.STREAM.CREATE.SPY",
    "deleting a message": "$JS.API.STREAM.MSG.DELETE.OMS_ORDERS",
    "copying a stream": "$JS.API.STREAM.SNAPSHOT.OMS_ORDERS",
    "having stored events sent anywhere": "$JS.API.DIRECT.GET.OMS_ORDERS",
    "forging the ack of another's publish": "_INBOX_mts1b-oms.abcdefghijklmnopqrstuv.1",
    "marking another's event as handled": "$KV.MTS1B_DEDUPE.my-consumer.key",
    "answering the server's questions about people": "_INBOX.x",
    "server events": "$SYS.REQ.SERVER.PING",
    "ending somebody's session": "$SYS.REQ.SERVER.X.KICK",
    "asking as a person": "act.v1.halt.request.all",
    "looking as a person": "look.v1.halts.all",
    "having another publish again": "svc.v1.marketdata.requeue",
}

SUBSCRIPTIONS = {
    "everything": ">",
    "another's inbox": "_INBOX_mts1b-oms.>",
    "everybody's inboxes": "*.>",
    "consumer requests": "$JS.API.>",
    "acks": "$JS.ACK.>",
    "server events": "$SYS.>",
    "logins of people": "$SYS.REQ.USER.AUTH",
    "questions to another": "svc.v1.oms.>",
    "what people ask for": "act.v1.>",
    "what people look up": "look.v1.>",
}


@pytest.mark.parametrize("subject", PUBLISHES.values(), ids=PUBLISHES.keys())
async def test_a_service_cannot_publish_what_is_not_its_own(subject: str, locked_shared: Locked):
    research = await locked_shared.raw("mts1b-research")
    await research.publish(subject, b"{}", reply="_INBOX_mts1b-research.x")
    await locked_shared.until(lambda: bool(refused(research)))
    assert refused(research) == [f'nats: permissions violation for publish to "{subject.lower()}"']
    await locked_shared.logged(f'mts1b-research" - Publish Violation - Subject "{subject}"')


@pytest.mark.parametrize("subject", SUBSCRIPTIONS.values(), ids=SUBSCRIPTIONS.keys())
async def test_a_service_cannot_listen_to_what_is_not_meant_for_it(subject: str, locked_shared: Locked):
    research = await locked_shared.raw("mts1b-research")
    await research.subscribe(subject)
    await locked_shared.until(lambda: bool(refused(research)))
    assert refused(research) == [f'nats: permissions violation for subscription to "{subject.lower()}"']
    await locked_shared.logged(f'mts1b-research" - Subscription Violation - Subject "{subject}"')


async def test_no_durable_of_a_service_reads_what_the_service_publishes():
    for permissions in all_permissions().values():
        assert permissions.problems == ()


async def test_the_administration_cannot_publish_events(locked: Locked):
    admin = await locked.raw("mts1b-deploy")
    await admin.publish("mts.v1.oms.orders.created", b"{}")
    await locked.until(lambda: bool(refused(admin)))
    assert "permissions violation" in refused(admin)[0]


async def test_acks_and_api_answers_sent_to_anothers_subject_become_dead_letters(locked: Locked):
    """Reply subjects are not checked by the server, so these are stored; nobody takes them for events."""
    treasury = await locked.bus("mts1b-treasury")
    attacker = await locked.raw("mts1b-treasury")
    subject = "mts.v1.oms.orders.filled"
    await attacker.publish("mts.v1.treasury.nav.alpha", NAV.model_dump_json().encode(), reply=subject)
    await attacker.publish(f"$JS.API.CONSUMER.INFO.{DURABLE}", b"", reply=subject)
    await attacker.publish("$JS.API.STREAM.NAMES", b"{}", reply=subject)
    admin = await locked.raw("mts1b-deploy")
    async with asyncio.timeout(PATIENCE):  # the server answers questions beside what it reads from a connection
        while (await admin.jetstream().stream_info("OMS_ORDERS")).state.messages < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    oms = await locked.bus("mts1b-oms")
    now = ORDER.updated_at
    genuine = ORDER.accept(now).fill(ORDER.quantity, ORDER.limit_price or ORDER.quantity, now)
    await oms.emit(OMS_ORDERS_FILLED, genuine)
    async with treasury.consume(OMS_ORDERS_FILLED, durable="my-consumer") as filled:
        event = await asyncio.wait_for(anext(filled), PATIENCE)
        async with event:
            assert event.payload == genuine
            assert event.seq == 4
    assert treasury.counters.schema_mismatch[OMS_ORDERS_FILLED.pattern] == 3
    state = (await admin.jetstream().stream_info("DEADLETTERS")).state
    assert state.messages == 3


async def test_a_forged_sender_is_not_believed(locked: Locked):
    """A listener takes an event only from the producer of its subject, whatever else is right about it."""
    marketdata, research = await locked.bus("mts1b-marketdata"), await locked.bus("mts1b-research")
    async with research.listen(MARKETDATA_QUOTES) as quotes:
        raw = await locked.raw("mts1b-marketdata")
        headers = {"mts-source-repo": "mts1b-oms", "mts-schema": MARKETDATA_QUOTES.schema_id, "mts-trace-id": "0" * 32}
        await raw.publish("mts.v1.marketdata.quotes.X", QUOTE.model_dump_json().encode(), headers=headers)
        await raw.flush()
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        assert (await asyncio.wait_for(anext(quotes), PATIENCE)).subject == "mts.v1.marketdata.quotes.BTC=2FUSDT"


# What an honest process sees: an error that says what happened, at once, in place of a time-out. Time-outs are two
# minutes here, so what comes within one did not wait for any.


@pytest.fixture
def long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acks of publishes and answers to requests are waited for two minutes, whoever waits."""
    request = EventBus.request

    async def patient_request(
        bus: EventBus, subject: str, payload: bytes = b"", timeout: float = 0.5, *arguments: Any, **options: Any
    ) -> Message:
        return await request(bus, subject, payload, max(timeout, 2 * PATIENCE), *arguments, **options)

    monkeypatch.setattr(EventBus, "request", patient_request)
    monkeypatch.setattr(bus_module, "_ACK_TIMEOUT", 2.0 * PATIENCE)


@pytest.mark.usefixtures("long_timeouts")
async def test_a_refused_durable_publish_raises_at_once_and_names_subject_and_identity(locked: Locked):
    liar = await as_oms_with_the_certificate_of(locked, "mts1b-research")
    with pytest.raises(AccessDenied, match=r"mts\.v1\.oms\.orders\.created\.fund\.alpha: mts1b-oms may not publish"):
        await asyncio.wait_for(liar.emit(OMS_ORDERS_CREATED, ORDER, deadline=2 * PATIENCE), PATIENCE)


@pytest.mark.usefixtures("long_timeouts")
@pytest.mark.parametrize("atomic", [True, False])
async def test_refused_durable_publishes_of_many_raise_at_once(locked: Locked, atomic: bool):
    liar = await as_oms_with_the_certificate_of(locked, "mts1b-research")
    publishing = liar.emit_many(OMS_ORDERS_CREATED, [ORDER, ORDER], atomic=atomic, deadline=2 * PATIENCE)
    with pytest.raises(AccessDenied, match=r"mts\.v1\.oms\.orders\.created\.fund\.alpha: mts1b-oms may not publish"):
        await asyncio.wait_for(publishing, PATIENCE)


@pytest.mark.usefixtures("long_timeouts")
async def test_a_refused_raw_jetstream_publish_raises_at_once(locked: Locked):
    research = await locked.bus("mts1b-research")
    publishing = research.jetstream().publish("mts.v1.oms.orders.created", b"{}", timeout=2 * PATIENCE)
    with pytest.raises(AccessDenied, match=r"mts\.v1\.oms\.orders\.created: mts1b-research may not publish"):
        await asyncio.wait_for(publishing, PATIENCE)


async def test_a_refused_core_publish_raises_on_flush_and_on_the_next_publish(locked: Locked):
    research = await locked.bus("mts1b-research")
    await research.publish("mts.v1.oms.orders.created", b"{}")
    with pytest.raises(AccessDenied, match=r"mts\.v1\.oms\.orders\.created: mts1b-research"):
        await research.flush()
    with pytest.raises(AccessDenied, match=r"mts\.v1\.oms\.orders\.created: mts1b-research"):
        await research.publish("mts.v1.oms.orders.created", b"{}")
    await research.flush()  # said once


async def test_a_refused_best_effort_event_raises_at_the_next_one(locked: Locked):
    liar = await as_marketdata_with_the_certificate_of(locked, "mts1b-research")
    await liar.emit(MARKETDATA_QUOTES, QUOTE)
    with pytest.raises(AccessDenied, match=r"quotes\.BTC=2FUSDT: mts1b-marketdata may not publish"):
        await liar.flush()
    with pytest.raises(AccessDenied):
        await liar.emit(MARKETDATA_QUOTES, QUOTE)


async def test_a_refused_subscription_raises(locked: Locked):
    research = await locked.bus("mts1b-research")
    with pytest.raises(AccessDenied, match=r"svc\.v1\.oms\.book: mts1b-research may not subscribe"):
        await research.subscribe("svc.v1.oms.book")


@pytest.mark.usefixtures("long_timeouts")
async def test_consuming_anothers_durable_raises_at_once(locked: Locked):
    research = await locked.bus("mts1b-research")
    consumer = research.consume(OMS_ORDERS_FILLED, durable="my-consumer")
    with pytest.raises(AccessDenied, match=r"CONSUMER\.INFO\.OMS_ORDERS\.my-consumer: mts1b-research"):
        await asyncio.wait_for(consumer.start(), PATIENCE)


@pytest.mark.usefixtures("long_timeouts")
async def test_administration_by_a_service_raises_at_once(locked: Locked):
    research = await locked.bus("mts1b-research")
    with pytest.raises(AccessDenied, match=r"STREAM\.PURGE\.OMS_ORDERS: mts1b-research"):
        await asyncio.wait_for(research.plain_jetstream().purge_stream("OMS_ORDERS"), PATIENCE)


async def test_a_question_is_answered_where_no_ack_is_ever_waited_for(locked: Locked):
    marketdata, research = await locked.bus("mts1b-marketdata"), await locked.bus("mts1b-research")
    seen: list[str] = []

    async def answer(msg: Message) -> None:
        seen.append(msg.reply)
        await msg.respond(json.dumps({"ok": True}).encode())

    await marketdata.subscribe("svc.v1.marketdata.history", cb=answer)
    said = await research.request("svc.v1.marketdata.history", b"", timeout=PATIENCE)
    assert json.loads(said.data) == {"ok": True}
    assert seen[0].startswith("_SVC.mts1b-research.")
    with pytest.raises(NoResponders):
        await research.request("svc.v1.marketdata.nothing", b"", timeout=PATIENCE)


def refused(client: Client) -> list[str]:
    return [str(error) for error in client.refused]  # type: ignore[attr-defined]


async def as_oms_with_the_certificate_of(locked: Locked, repo: str) -> EventBus:
    return await lying(locked, "mts1b-oms", repo)


async def as_marketdata_with_the_certificate_of(locked: Locked, repo: str) -> EventBus:
    return await lying(locked, "mts1b-marketdata", repo)


async def lying(locked: Locked, service: str, repo: str) -> EventBus:
    """A process that says it is ``service`` and has the certificate of ``repo``."""
    bus = await connect(
        locked.url,
        service=service,
        config=locked.bare_config(),
        tls_ca=locked.pki.ca,
        tls_cert=locked.pki.pem(repo),
    )
    locked.opened.append(bus)
    return bus


async def test_a_pulled_event_that_is_sent_to_anothers_subject_keeps_its_own(locked: Locked):
    """So nobody takes a filled order for a gate's answer, in whatever stream it ends up."""
    oms, attacker = await locked.bus("mts1b-oms"), await locked.raw("mts1b-treasury")
    now = ORDER.updated_at
    filled = ORDER.accept(now).fill(ORDER.quantity, ORDER.limit_price or ORDER.quantity, now)
    ack = await oms.emit(OMS_ORDERS_FILLED, filled)
    pull = b'{"batch":1,"expires":1000000000}'
    await attacker.publish(f"$JS.API.CONSUMER.MSG.NEXT.{DURABLE}", pull, reply="mts.v1.risk.gate.failed")
    await attacker.flush()
    admin = await locked.bus("mts1b-deploy")
    async with asyncio.timeout(PATIENCE):
        while not (await admin.plain_jetstream().stream_info("RISK")).state.messages:  # noqa: ASYNC110 - as the server says
            await asyncio.sleep(0.01)
    moved = await admin.plain_jetstream().get_msg("RISK", 1)
    assert moved.subject == ack.subject
