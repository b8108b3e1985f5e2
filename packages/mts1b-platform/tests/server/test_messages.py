"""Plain messages on the bus's own connection: publish, subscribe, ask and answer."""

import asyncio
from typing import Any

import pytest
from mts1b_platform.eventbus import (
    BusClosed,
    BusError,
    EventBus,
    InvalidHeader,
    PayloadTooLarge,
    connect,
)
from mts1b_platform.eventbus.connection.messages import Message, MessageSubscription
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout
from mts1b_platform.eventbus.protocol.frames import SubjectRefused
from mts1b_platform.server import NatsServer
from mts1b_platform.testing import StartNatsServer
from mts1b_platform.testing.bus import ConnectBus

WAIT = 60.0


class Taken:
    """A handler of messages, and what it was given."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self._arrived = asyncio.Event()

    async def __call__(self, message: Message) -> None:
        self.data.append(message.data)
        self._arrived.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT):
            while len(self.data) < count:
                self._arrived.clear()
                await self._arrived.wait()


async def taken(subscription: MessageSubscription, count: int) -> list[bytes]:
    """The next ``count`` messages."""
    return [(await subscription.next_msg(WAIT)).data for _ in range(count)]


async def send(bus: EventBus, subject: str, *payloads: bytes) -> None:
    for payload in payloads:
        await bus.publish(subject, payload)
    await bus.flush(WAIT)


async def test_a_handler_gets_each_message_in_order(bus: EventBus):
    handler = Taken()
    await bus.subscribe("greet.*", cb=handler)
    for n in range(1000):
        await bus.publish(f"greet.{n % 7}", b"%d" % n)
    await handler.until(1000)
    assert handler.data == [b"%d" % n for n in range(1000)]


async def test_messages_are_read_by_iteration_until_the_subscription_ends(bus: EventBus):
    subscription = await bus.subscribe("greet.>")
    await send(bus, "greet.a.b", b"1", b"2")
    seen: list[tuple[str, bytes]] = []
    async with asyncio.timeout(WAIT):
        async for message in subscription.messages:
            seen.append((message.subject, message.data))
            if len(seen) == 2:
                await subscription.unsubscribe()
    assert seen == [("greet.a.b", b"1"), ("greet.a.b", b"2")]
    with pytest.raises(BusClosed, match=r"greet\.>: the subscription has ended"):
        await subscription.next_msg()


async def test_a_waiting_reader_is_woken_by_the_end(bus: EventBus):
    subscription = await bus.subscribe("greet")
    waiting = asyncio.create_task(subscription.next_msg(WAIT))
    await asyncio.sleep(0)
    await subscription.unsubscribe()
    with pytest.raises(BusClosed):
        await asyncio.wait_for(waiting, WAIT / 2)


async def test_members_of_a_queue_group_share_the_messages(bus: EventBus, connect_bus: ConnectBus):
    other = await connect_bus()
    members = [await bus.subscribe("work", "group"), await other.subscribe("work", "group")]
    everything = await bus.subscribe("work")
    await other.flush(WAIT)
    await send(bus, "work", *[b"%d" % n for n in range(300)])
    assert await taken(everything, 300) == [b"%d" % n for n in range(300)]
    await other.flush(WAIT)
    shares = [await taken(member, member.waiting) for member in members]
    assert sorted(int(data) for share in shares for data in share) == list(range(300))
    assert all(shares)


async def test_a_question_is_answered_with_payload_and_headers(bus: EventBus, connect_bus: ConnectBus):
    async def answer(message: Message) -> None:
        await message.respond(message.data.upper(), {"x-asked": message.headers.get("x-note") or ""})

    service = await connect_bus()
    await service.subscribe("svc.greet", cb=answer)
    await service.flush(WAIT)
    got = await bus.request("svc.greet", b"hello", WAIT, {"x-note": "now"})
    assert (got.data, got.headers.get("x-asked")) == (b"HELLO", "now")


async def test_many_questions_at_once_have_their_own_answers(bus: EventBus):
    async def answer(message: Message) -> None:
        await message.respond(message.data)

    await bus.subscribe("svc.echo", cb=answer)
    answers = await asyncio.gather(*[bus.request("svc.echo", b"%d" % n, WAIT) for n in range(200)])
    assert [got.data for got in answers] == [b"%d" % n for n in range(200)]


async def test_a_question_that_nobody_answers_is_told_at_once(bus: EventBus):
    async with asyncio.timeout(WAIT / 2):
        with pytest.raises(NoResponders, match=r"svc\.nobody"):
            await bus.request("svc.nobody", timeout=WAIT)


async def test_a_question_without_an_answer_in_time_says_so(bus: EventBus):
    await bus.subscribe("svc.slow", cb=Taken())
    with pytest.raises(RequestTimeout, match=r"svc\.slow: no answer within 0\.2 s"):
        await bus.request("svc.slow", timeout=0.2)


async def test_a_message_that_asks_for_nothing_cannot_be_answered(bus: EventBus):
    subscription = await bus.subscribe("greet")
    await send(bus, "greet", b"hello")
    message = await subscription.next_msg(WAIT)
    assert message.reply == ""
    with pytest.raises(BusError, match=r"greet: .*nobody to answer"):
        await message.respond()


async def test_headers_arrive_and_are_found_in_any_case(bus: EventBus):
    subscription = await bus.subscribe("greet")
    await bus.publish("greet", b"", headers={"X-Note": "ä b", "NATS-MSG-ID": "1"})
    await bus.publish("greet", b"")
    with_headers, without = [await subscription.next_msg(WAIT) for _ in range(2)]
    assert with_headers.data == b""
    assert with_headers.headers.get("x-note") == "ä b"
    assert with_headers.headers.to_dict()["Nats-Msg-Id"] == "1", "in the case that the server looks for"
    assert without.headers.to_dict() == {}


@pytest.mark.parametrize("headers", [{"x": "a\r\nb"}, {"a": "1", "A": "2"}, {"a b": "1"}])
async def test_headers_that_cannot_go_on_the_wire_are_refused(bus: EventBus, headers: dict[str, str]):
    for publish in (bus.publish("greet", headers=headers), bus.request("greet", headers=headers)):
        with pytest.raises(InvalidHeader):
            await publish


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPING", "a..b", "a.*"])
async def test_a_malformed_subject_is_refused(bus: EventBus, subject: str):
    for publish in (bus.publish(subject), bus.request(subject)):
        with pytest.raises(SubjectRefused):
            await publish
    assert bus.is_connected
    await bus.flush(WAIT)


async def test_a_message_larger_than_the_server_takes_is_refused_with_its_subject(bus: EventBus):
    with pytest.raises(PayloadTooLarge, match=r"^greet: 1048577 bytes"):
        await bus.publish("greet", bytes(bus.max_payload + 1))
    await bus.flush(WAIT)
    assert bus.is_connected


async def test_a_slow_reader_loses_what_is_over_its_limit_counted_and_keeps_the_rest(bus: EventBus):
    subscription = await bus.subscribe("greet", pending=10)
    await send(bus, "greet", *[b"%d" % n for n in range(25)])
    assert (subscription.waiting, subscription.dropped) == (10, 15)
    assert await taken(subscription, 10) == [b"%d" % n for n in range(10)]
    await send(bus, "greet", b"again")
    assert await taken(subscription, 1) == [b"again"]
    assert subscription.dropped == 15


@pytest.mark.parametrize("later", [False, True])
async def test_a_subscription_ends_after_its_last_message(bus: EventBus, later: bool):
    subscription = await bus.subscribe("greet", max_msgs=0 if later else 3)
    if later:
        await subscription.unsubscribe(3)
    await send(bus, "greet", *[b"%d" % n for n in range(9)])
    async with asyncio.timeout(WAIT):
        assert [message.data async for message in subscription.messages] == [b"0", b"1", b"2"]


async def test_draining_waits_until_the_handler_has_handled_what_was_sent(bus: EventBus):
    handled: list[bytes] = []

    async def slowly(message: Message) -> None:
        await asyncio.sleep(0.001)
        handled.append(message.data)

    subscription = await bus.subscribe("greet", cb=slowly)
    for n in range(100):
        await bus.publish("greet", b"%d" % n)
    await asyncio.wait_for(subscription.drain(), WAIT)
    assert handled == [b"%d" % n for n in range(100)]
    await send(bus, "greet", b"late")
    assert len(handled) == 100


async def test_an_error_of_a_handler_costs_its_own_message(bus: EventBus):
    handled: list[bytes] = []

    async def fail_at_two(message: Message) -> None:
        if message.data == b"2":
            raise ZeroDivisionError
        handled.append(message.data)

    subscription = await bus.subscribe("greet", cb=fail_at_two)
    await send(bus, "greet", b"1", b"2", b"3")
    await asyncio.wait_for(subscription.drain(), WAIT)
    assert handled == [b"1", b"3"]


async def test_closing_the_bus_ends_the_reading_and_refuses_what_comes_later(bus: EventBus):
    subscription, handler = await bus.subscribe("greet"), Taken()
    await bus.subscribe("greet", cb=handler)
    reading = asyncio.create_task(subscription.next_msg(WAIT))
    await send(bus, "other", b"")
    await bus.close()
    with pytest.raises(BusClosed):
        await asyncio.wait_for(reading, WAIT / 2)
    for use in (bus.publish("greet"), bus.request("greet"), bus.subscribe("greet"), bus.flush()):
        with pytest.raises(BusClosed):
            await use


async def test_messages_go_on_after_a_restart_and_none_that_waited_is_lost(bus: EventBus, nats_server: NatsServer):
    broken, subscription = asyncio.Event(), await bus.subscribe("greet")
    bus.connection.on_break(broken.set)
    await send(bus, "greet", b"before")
    nats_server.kill()
    await asyncio.wait_for(broken.wait(), WAIT)
    for n in range(50):
        await bus.publish("greet", b"%d" % n)
    await nats_server.restart()
    assert await taken(subscription, 51) == [b"before", *[b"%d" % n for n in range(50)]]


async def test_a_server_without_jetstream_is_enough(start_nats_server: StartNatsServer):
    server = start_nats_server(jetstream=False)
    async with await connect(server.url, connect_timeout=WAIT) as bus:
        subscription = await bus.subscribe("greet")
        await send(bus, "greet", b"hello")
        assert await taken(subscription, 1) == [b"hello"]


async def test_options_that_do_not_exist_are_refused(free_url: str):
    options: dict[str, Any] = {"max_reconnect_attempts": 3}
    with pytest.raises(TypeError, match="max_reconnect_attempts"):
        await connect(free_url, **options)
