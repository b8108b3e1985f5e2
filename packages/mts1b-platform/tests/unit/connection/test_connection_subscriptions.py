"""Subscriptions and requests of a connection in memory."""

import asyncio
from typing import Any

import pytest
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusDraining,
    NoResponders,
    RequestTimeout,
    ServerUnavailable,
    WrongEventLoop,
)
from mts1b_platform.eventbus.protocol.frames import SubjectRefused, pub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg
from simulated import World, settle

from ...received import Received  # noqa: TID252 - tests are in no package that could be named


async def test_messages_of_one_read_come_as_one_list(world: World):
    server = world.server()
    connection = await world.connected()
    one, two = Received(), Received()
    connection.subscribe("a", one)
    connection.subscribe("b", two, queue="q")
    await connection.flush()
    assert server.session.lines[2:5] == [b"PING", b"SUB a 1", b"SUB b q 2"]
    server.session.say(b"MSG a 1 1\r\n1\r\nMSG b 2 r 1\r\n2\r\nMSG a 1 1\r\n3\r\n")
    assert one.batches == [[(b"a", b"", b"", b"1"), (b"a", b"", b"", b"3")]]
    assert two.batches == [[(b"b", b"r", b"", b"2")]]
    assert (connection.stats.in_msgs, connection.stats.in_bytes) == (3, 3)
    await connection.close()


async def test_an_error_of_a_callback_costs_its_batch_only(world: World):
    server = world.server()
    connection = await world.connected()
    heard = Received()

    def fail(_: list[RawMsg]) -> None:
        raise ValueError("a bug")

    connection.subscribe("a", fail)
    connection.subscribe("b", heard)
    await connection.flush()
    for _ in range(2):
        server.session.say(b"MSG a 1 1\r\n1\r\nMSG b 2 1\r\n2\r\n")
    assert heard.payloads == [b"2", b"2"]
    assert [str(error) for error in world.told.errors] == ["a bug", "a bug"]
    assert connection.is_connected
    await connection.close()


@pytest.mark.parametrize("many", [True, False])
async def test_it_ends_after_its_last_message(world: World, many: bool):
    server = world.server()
    connection = await world.connected()
    heard, ended = Received(), []
    subscription = connection.subscribe("a", heard, max_msgs=3)
    subscription.on_end = lambda: ended.append(len(heard.payloads))
    await connection.flush()
    assert server.session.lines[3:5] == [b"SUB a 1", b"UNSUB 1 3"]
    server.session.say(b"".join(b"MSG a 1 1\r\n%d\r\n" % n for n in range(5)), at=None if many else 12)
    assert heard.payloads == [b"0", b"1", b"2"]
    assert ended == [3], "told after the last message was delivered"
    assert not subscription.is_active
    await connection.close()
    assert ended == [3]


async def test_a_limit_counts_over_reconnects(world: World):
    server = world.server()
    connection = await world.connected()
    heard = Received()
    limited = connection.subscribe("a", heard, max_msgs=3)
    later = connection.subscribe("b", heard)
    await connection.flush()
    server.session.say(b"MSG a 1 1\r\n1\r\nMSG b 2 1\r\n2\r\n")
    await world.clock.advance(2)
    server.session.lose(None)
    await world.clock.advance(0.2)
    later.unsubscribe(limit=3)
    await connection.flush()
    lines = server.session.lines
    assert lines[2:5] == [b"SUB a 1", b"UNSUB 1 2", b"SUB b 2"]
    assert b"UNSUB 2 2" in lines
    server.session.say(b"MSG a 1 1\r\n3\r\nMSG a 1 1\r\n4\r\nMSG a 1 1\r\n5\r\n")
    assert heard.payloads == [b"1", b"2", b"3", b"4"]
    assert not limited.is_active
    await connection.close()


async def test_unsubscribing_ends_it_at_once(world: World):
    server = world.server()
    connection = await world.connected()
    heard, ended = Received(), []
    subscription = connection.subscribe("a", heard)
    subscription.on_end = lambda: ended.append(1)
    subscription.unsubscribe()
    subscription.unsubscribe()
    await connection.flush()
    server.session.say(b"MSG a 1 1\r\n1\r\n")
    assert heard.payloads == []
    assert ended == [1]
    assert server.session.lines[3:5] == [b"SUB a 1", b"UNSUB 1"]
    await connection.close()


async def test_a_server_that_has_not_let_us_in_delivers_nothing(world: World):
    server = world.server()
    connection = await world.connected()
    heard = Received()
    connection.subscribe("a", heard)
    server.greeting = b'INFO {"headers":true}\r\nMSG a 1 1\r\n1\r\n'
    server.session.lose(None)
    await world.clock.advance(0.2)
    assert connection.is_connected
    server.session.say(b"MSG a 1 1\r\n2\r\n")
    assert heard.payloads == [b"2"]
    await connection.close()


async def test_a_limit_that_is_reached_already_ends_it(world: World):
    server = world.server()
    connection = await world.connected()
    subscription = connection.subscribe("a", Received())
    await connection.flush()
    server.session.say(b"MSG a 1 1\r\n1\r\n" * 2)
    subscription.unsubscribe(limit=2)
    assert not subscription.is_active
    await connection.close()


async def test_a_callback_may_end_another_subscription_in_the_same_read(world: World):
    server = world.server()
    connection = await world.connected()
    heard = Received()
    connection.subscribe("a", lambda _: second.unsubscribe())
    second = connection.subscribe("b", heard)
    await connection.flush()
    server.session.say(b"MSG a 1 1\r\n1\r\nMSG b 2 1\r\n2\r\n")
    assert heard.payloads == []
    assert world.told.errors == []
    await connection.close()


async def test_draining_a_subscription_delivers_what_was_on_its_way(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    heard = Received()
    subscription = connection.subscribe("a", heard)
    await connection.flush()
    server.answers_pings = False
    draining = asyncio.create_task(subscription.drain())
    await settle()
    assert server.session.lines[-2:] == [b"UNSUB 1", b"PING"]
    server.session.say(b"MSG a 1 1\r\n1\r\nPONG\r\nMSG a 1 1\r\n2\r\n")
    await draining
    assert heard.payloads == [b"1", b"2"]
    assert not subscription.is_active
    await subscription.drain()
    await connection.close()


async def test_draining_that_breaks_off_ends_it_too(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    subscription = connection.subscribe("a", Received())
    server.answers_pings = False
    draining = asyncio.create_task(subscription.drain())
    await settle()
    server.session.lose(None)
    with pytest.raises(ServerUnavailable):
        await draining
    assert not subscription.is_active
    await connection.close()


async def test_every_subscription_is_told_that_the_connection_is_closed(world: World):
    world.server()
    connection = await world.connected()
    ended: list[int] = []

    def fail() -> None:
        ended.append(0)
        raise ValueError("a bug")

    for n in range(3):
        connection.subscribe("a", Received()).on_end = fail if n == 0 else lambda n=n: ended.append(n)
    await connection.close()
    assert ended == [0, 1, 2]
    assert [str(error) for error in world.told.errors] == ["a bug"]


async def test_draining_the_connection_delivers_what_was_on_its_way(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    heard = Received()
    connection.subscribe("a", heard)
    await connection.flush()
    server.answers_pings = False
    draining = asyncio.create_task(connection.drain())
    await settle()
    with pytest.raises(BusDraining):
        connection.subscribe("b", heard)
    connection.send(pub_frame(b"out", b"an ack, say"))
    await settle()
    server.session.say(b"MSG a 1 1\r\n1\r\nPONG\r\n")
    await draining
    assert heard.payloads == [b"1"]
    assert [msg.payload for msg in server.messages] == [b"an ack, say"]
    assert connection.is_closed
    assert world.told.errors == []


async def test_draining_twice_at_a_time_waits_for_the_same_end(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    heard = Received()
    connection.subscribe("a", heard)
    await connection.flush()
    server.answers_pings = False
    first, second = asyncio.create_task(connection.drain()), asyncio.create_task(connection.drain())
    await settle()
    first.cancel()
    await settle()
    assert connection.is_connected
    server.session.say(b"MSG a 1 1\r\n1\r\nPONG\r\n")
    await second
    assert heard.payloads == [b"1"]
    assert connection.is_closed
    assert world.told.errors == []


async def test_closing_cuts_draining_short(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    connection.subscribe("a", Received())
    server.answers_pings = False
    draining = asyncio.create_task(connection.drain())
    await settle()
    await connection.close()
    await draining
    assert [str(error) for error in world.told.errors] == [
        "drain was cut short, messages may not have been delivered: the connection was closed: connect() again"
    ]


async def test_draining_waits_for_a_connection_that_is_down(world: World):
    server = world.server()
    connection = await world.connected()
    server.refuses = True
    server.session.lose(None)
    connection.send(pub_frame(b"out", b"kept"))
    draining = asyncio.create_task(connection.drain())
    await world.clock.advance(1)
    server.refuses = False
    await world.clock.advance(0.2)
    await draining
    assert [msg.payload for msg in server.messages] == [b"kept"]


@pytest.mark.parametrize("subject", ["", "a..b", ".a", "a.", "a b", "a\r\nb", "a\tb", "a.>.b", "\ud800", "a\x7f"])
async def test_a_malformed_subject_is_refused(world: World, subject: str):
    server = world.server()
    connection = await world.connected()
    with pytest.raises(SubjectRefused):
        connection.subscribe(subject, Received())
    with pytest.raises(SubjectRefused):
        await connection.request(subject, timeout=1)
    await connection.flush()
    assert server.session.subscribed.keys() <= {b"1"}
    await connection.close()


async def test_a_malformed_queue_group_is_refused(world: World):
    world.server()
    connection = await world.connected()
    with pytest.raises(SubjectRefused, match="queue"):
        connection.subscribe("a", Received(), queue="a b")
    await connection.close()


async def test_subscribing_from_another_thread_is_told(world: World):
    world.server()
    connection = await world.connected()
    with pytest.raises(WrongEventLoop):
        await asyncio.to_thread(connection.subscribe, "a", Received())
    await connection.close()


# Requests.


async def test_a_request_has_its_answer(world: World):
    server = world.server()
    connection = await world.connected(inbox_prefix="_INBOX_oms")
    first = asyncio.create_task(connection.request("svc.a", b"1", timeout=1))
    second = asyncio.create_task(connection.request("svc.b", b"2", timeout=1, headers=b"NATS/1.0\r\nA: b\r\n\r\n"))
    await settle()
    one, two = server.messages
    assert (one.subject, one.payload, two.head) == (b"svc.a", b"1", b"NATS/1.0\r\nA: b\r\n\r\n")
    assert one.reply.startswith(b"_INBOX_oms.")
    server.session.publish(two.reply, b"to two")
    server.session.publish(two.reply, b"another answer")
    server.session.publish(one.reply, b"to one")
    assert ((await first).payload, (await second).payload) == (b"to one", b"to two")
    assert len(server.session.subscribed) == 1, "one subscription for all"
    await connection.close()


async def test_nobody_answers(world: World):
    server = world.server()
    connection = await world.connected()
    asking = asyncio.create_task(connection.request("svc.a", timeout=1))
    await settle()
    head = b"NATS/1.0 503\r\n\r\n"
    server.session.say(b"HMSG %b 1 %d %d\r\n%b\r\n" % (server.messages[0].reply, len(head), len(head), head))
    with pytest.raises(NoResponders, match=r"svc\.a"):
        await asking
    await connection.close()


async def test_no_answer_in_time(world: World):
    server = world.server()
    connection = await world.connected()
    asking = asyncio.create_task(connection.request("svc.a", timeout=1.5))
    await world.during(1.4, asking)
    await world.clock.advance(0.2)
    with pytest.raises(RequestTimeout, match=r"svc\.a: no answer within 1.5 s"):
        await asking
    server.session.publish(server.messages[0].reply, b"too late")
    await connection.close()


async def test_a_question_that_went_out_on_a_broken_connection_is_told_and_one_that_waits_goes_out(world: World):
    server = world.server()
    connection = await world.connected()
    gone = asyncio.create_task(connection.request("svc.a", timeout=60))
    await settle()
    server.refuses = True
    server.session.lose(None)
    waits = asyncio.create_task(connection.request("svc.b", timeout=60))
    with pytest.raises(ServerUnavailable, match=r"svc\.a: the connection broke"):
        await gone
    server.refuses = False
    await world.clock.advance(0.2)
    assert server.messages[-1].subject == b"svc.b"
    server.session.publish(server.messages[-1].reply, b"yes")
    assert (await waits).payload == b"yes"
    await connection.close()


async def test_a_question_that_had_not_gone_out_when_the_connection_broke_goes_out_later(world: World):
    server = world.server()
    connection = await world.connected()
    server.session.pause()
    asking = asyncio.create_task(connection.request("svc.a", timeout=60))
    await settle()
    assert server.messages == []
    server.session.lose(None)
    await world.clock.advance(0.2)
    server.session.publish(server.messages[0].reply, b"yes")
    assert (await asking).payload == b"yes"
    await connection.close()


async def test_closing_ends_the_questions(world: World):
    world.server()
    connection = await world.connected()
    asking = [asyncio.create_task(connection.request("svc.a", timeout=60)) for _ in range(2)]
    await settle()
    await connection.close()
    for question in asking:
        with pytest.raises(BusClosed):
            await question


async def test_answers_arrive_while_the_connection_drains(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    asking = asyncio.create_task(connection.request("svc.a", timeout=60))
    await settle()
    server.answers_pings = False
    draining = asyncio.create_task(connection.drain())
    await settle()
    server.session.publish(server.messages[0].reply, b"yes")
    assert (await asking).payload == b"yes"
    server.session.say(b"PONG\r\n")
    await draining


async def test_inboxes_differ(world: World):
    world.server()
    connection = await world.connected()
    inboxes: set[Any] = {connection.new_inbox() for _ in range(100)}
    assert len(inboxes) == 100
    await connection.close()
