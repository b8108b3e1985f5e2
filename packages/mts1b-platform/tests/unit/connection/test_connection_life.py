"""From dialling to closing, on virtual time: what ends a connection, what does not, and how long everything takes."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from mts1b_platform.eventbus.connection import Callbacks, Connection, ConnectionOptions, Credentials, State
from mts1b_platform.eventbus.errors import (
    AccessDenied,
    BusClosed,
    BusError,
    IdentityRefused,
    ProtocolViolation,
    RequestTimeout,
    ServerError,
    ServerIsolated,
    ServerLeaving,
    ServerUnavailable,
    StaleConnection,
)
from mts1b_platform.eventbus.protocol.frames import pub_frame
from simulated import World, settle

from ...received import Received  # noqa: TID252 - tests are in no package that could be named


async def test_it_introduces_itself_and_stands(world: World):
    server = world.server()
    connection = await world.connected(name="mts1b-oms", echo=False)
    assert connection.is_connected
    assert connection.state is State.UP
    assert str(connection.connected_url) == "nats://10.0.0.1:4222"
    said = server.session.connect
    assert said["name"] == "mts1b-oms"
    assert (said["echo"], said["headers"], said["no_responders"], said["verbose"]) == (False, True, True, False)
    assert connection.server_info["version"] == "2.15.1"
    await connection.close()
    assert server.session.closed
    assert connection.connected_url is None


@pytest.mark.parametrize(
    ("url", "credentials", "said"),
    [
        ("nats://10.0.0.1", Credentials(token="t"), {"auth_token": "t"}),
        ("nats://10.0.0.1", Credentials(user="u", password="p"), {"user": "u", "pass": "p"}),
        ("nats://u:p%40@10.0.0.1", Credentials(), {"user": "u", "pass": "p@"}),
        ("nats://tok@10.0.0.1", Credentials(), {"auth_token": "tok"}),
        ("nats://10.0.0.1", Credentials(), {}),
    ],
)
async def test_it_says_who_it_is(world: World, url: str, credentials: Credentials, said: dict[str, str]):
    server = world.server()
    connection = await world.connected(url, credentials=lambda: credentials)
    told = server.session.connect
    assert {key: told[key] for key in ("auth_token", "user", "pass") if key in told} == said
    assert "p@" not in repr(connection)
    assert repr(credentials) == "<Credentials>"
    await connection.close()


async def test_credentials_are_asked_for_at_each_dial(world: World):
    server = world.server()
    tokens = iter(["first", "second"])
    connection = await world.connected(credentials=lambda: Credentials(token=next(tokens)))
    server.session.lose(None)
    await world.clock.advance(1)
    assert [session.connect["auth_token"] for session in server.sessions] == ["first", "second"]
    await connection.close()


async def test_credentials_that_cannot_be_read_are_a_failed_dial(world: World):
    world.server()
    answers: list[Exception | Credentials] = [OSError("no token in /run/token"), Credentials(token="t")]

    def read() -> Credentials:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    connecting = asyncio.create_task((connection := world.connection(credentials=read)).connect())
    await world.clock.advance(1)
    await connecting
    assert [str(error) for error in world.told.errors] == ["no token in /run/token"]
    await connection.close()


async def test_connecting_ends_at_its_deadline_and_says_why(world: World):
    server = world.server()
    server.refuses = True
    connection = world.connection()
    connecting = asyncio.create_task(connection.connect(deadline=3))
    await world.during(2.9, connecting)
    await world.clock.advance(0.2)
    with pytest.raises(ServerUnavailable, match=r"nats://10\.0\.0\.1:4222 within 3 s.*refuses"):
        await connecting
    assert connection.is_closed
    with pytest.raises(BusClosed):
        connection.send(pub_frame(b"a"))
    assert len(world.network.dialled) > 20


async def test_an_identity_that_every_server_refuses_is_told_at_once(world: World):
    for address in ("10.0.0.1:4222", "10.0.0.2:4222"):
        world.server(address).login_error = b"Authorization Violation"
    connection = world.connection()
    with pytest.raises(IdentityRefused, match="Authorization Violation") as raised:
        await connection.connect(deadline=60)
    assert isinstance(raised.value, AccessDenied)
    assert world.network.dialled == ["10.0.0.1:4222", "10.0.0.2:4222"]
    assert world.told.words == ["Authorization Violation"] * 2


async def test_one_server_that_refuses_is_passed_over(world: World):
    world.server("10.0.0.1:4222").login_error = b"Authorization Violation"
    good = world.server("10.0.0.2:4222")
    connection = await world.connected()
    assert len(good.sessions) == 1
    await connection.close()


async def test_connecting_twice_is_refused(world: World):
    world.server()
    connection = await world.connected()
    with pytest.raises(BusError, match="connected before"):
        await connection.connect()
    assert connection.is_connected
    await connection.close()


async def test_connecting_that_is_called_off_leaves_nothing(world: World):
    world.server().swallows = True
    before = asyncio.all_tasks()
    connection = world.connection()
    connecting = asyncio.create_task(connection.connect())
    await settle()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert connection.is_closed
    assert asyncio.all_tasks() == before
    assert world.clock.pending == 0


# Invariant 5: nothing is awaited without a limit.


async def test_a_frozen_first_address_is_left_within_two_seconds(world: World):
    world.network.names["bus.test"] = ["10.0.0.1", "10.0.0.2"]
    world.server("10.0.0.1:4222").swallows = True
    world.server("10.0.0.2:4222")
    connection = world.connection("nats://bus.test")
    connecting = asyncio.create_task(connection.connect(deadline=10))
    await world.during(1.9, connecting)
    await world.clock.advance(0.2)
    await connecting
    assert world.network.dialled == ["10.0.0.1:4222", "10.0.0.2:4222"]
    assert ["10.0.0.1 took the connection and sent no greeting within 2 s" in str(e) for e in world.told.errors]
    await connection.close()


async def test_an_address_that_froze_while_connected_is_tried_last(world: World):
    world.network.names["bus.test"] = ["10.0.0.1", "10.0.0.2"]
    first, second = world.server("10.0.0.1:4222"), world.server("10.0.0.2:4222")
    connection = await world.connected("nats://bus.test")
    first.answers_pings = False
    first.swallows = True
    await world.clock.advance(3.1)
    assert [type(error) for error in world.told.errors] == [StaleConnection]
    assert connection.is_connected
    assert len(second.sessions) == 1
    assert len(first.sessions) == 1, "the frozen address was not dialled again first"
    await connection.close()


async def test_of_two_addresses_that_failed_the_one_that_failed_last_is_tried_last(world: World):
    world.network.names["bus.test"] = ["10.0.0.1", "10.0.0.2"]
    first, second = world.server("10.0.0.1:4222"), world.server("10.0.0.2:4222")
    first.refuses = second.refuses = True
    connection = world.connection("nats://bus.test")
    connecting = asyncio.create_task(connection.connect())
    await world.clock.advance(0.01)
    first.refuses = second.refuses = False
    await world.clock.advance(0.2)
    await connecting
    first.answers_pings = False
    first.swallows = True
    await world.clock.advance(3.1)
    assert connection.is_connected
    assert (len(first.sessions), len(second.sessions)) == (1, 1)
    await connection.close()


async def test_a_name_whose_resolution_hangs_is_left(world: World):
    world.network.frozen_names.add("lost.test")
    world.server("10.0.0.2:4222")
    connection = world.connection("nats://lost.test", "nats://10.0.0.2")
    connecting = asyncio.create_task(connection.connect())
    await world.during(1.9, connecting)
    await world.clock.advance(0.2)
    await connecting
    assert "lost.test:4222: its name cannot be resolved" in str(world.told.errors[0])
    await connection.close()


@pytest.mark.parametrize("answers_login", [True, False])
async def test_a_login_without_an_end_is_left(world: World, answers_login: bool):
    server = world.server()
    server.answers_pings = answers_login
    if answers_login:
        server.greeting = b"INFO {"  # half a greeting
    connecting = asyncio.create_task(world.connection().connect(deadline=2.5))
    await world.clock.advance(3)
    with pytest.raises(ServerUnavailable):
        await connecting
    assert "within 2 s" in str(world.told.errors[0])


async def test_families_are_tried_in_turn(world: World):
    world.network.names["bus.test"] = ["fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2", "fd00::1"]
    connecting = asyncio.create_task(world.connection("nats://bus.test").connect(deadline=0.01))
    await world.clock.advance(0.02)
    with pytest.raises(ServerUnavailable):
        await connecting
    assert world.network.dialled == ["fd00::1:4222", "10.0.0.1:4222", "fd00::2:4222", "10.0.0.2:4222"]


async def test_closing_waits_two_seconds_for_a_server_that_takes_nothing(world: World):
    server = world.server()
    connection = await world.connected()
    server.session.stuck = True
    connection.send(pub_frame(b"a", b"last"))
    closing = asyncio.create_task(connection.close())
    await world.during(1.9, closing)
    await world.clock.advance(0.2)
    await closing
    assert [str(error) for error in world.told.errors] == [
        "closed before everything was written: the server takes nothing"
    ]
    assert server.session.closed


async def test_draining_ends_within_its_budget(world: World):
    server = world.server()
    connection = await world.connected()
    connection.subscribe("a", Received())
    server.answers_pings = False
    draining = asyncio.create_task(connection.drain(budget=1.5))
    await world.during(1.4, draining)
    await world.clock.advance(0.2)
    await draining
    assert connection.is_closed
    assert "drain was cut short" in str(world.told.errors[0])


async def test_flush_ends_at_its_time_limit(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    server.answers_pings = False
    flushing = asyncio.create_task(connection.flush(timeout=4))
    await world.during(3.9, flushing)
    await world.clock.advance(0.2)
    with pytest.raises(RequestTimeout, match="4 s"):
        await flushing
    server.answers_pings = True
    server.session.say(b"PONG\r\n")  # too late, and it must not pass for the next one
    second = asyncio.create_task(connection.flush())
    await settle()
    assert second.done()
    await connection.close()


@pytest.mark.parametrize("words", [b"", b"-ERR 'slow consumer'\r\n"])
@pytest.mark.parametrize("error", [None, ConnectionResetError("reset by peer")])
async def test_flush_says_that_the_connection_broke(world: World, words: bytes, error: Exception | None):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    server.answers_pings = False
    flushing = asyncio.create_task(connection.flush())
    await settle()
    server.session.say(words)
    server.session.lose(error)
    with pytest.raises(ServerUnavailable, match="before the server had confirmed"):
        await flushing
    await connection.close()


async def test_flush_without_a_connection_says_so(world: World):
    server = world.server()
    connection = await world.connected()
    server.refuses = True
    server.session.lose(None)
    with pytest.raises(ServerUnavailable, match="no connection"):
        await connection.flush()
    await connection.close()


async def test_flush_says_that_the_connection_was_closed(world: World):
    server = world.server()
    connection = await world.connected(ping_interval=60)
    server.answers_pings = False
    flushing = asyncio.create_task(connection.flush())
    await settle()
    await connection.close()
    with pytest.raises(BusClosed):
        await flushing


# Invariant 7: keep-alive.


async def test_a_silent_server_is_given_up_within_three_seconds(world: World):
    server = world.server()
    connection = await world.connected()
    await world.clock.advance(5.5)
    assert connection.is_connected
    server.answers_pings = False
    await world.clock.advance(1.9)
    assert not world.told.events
    await world.clock.advance(1.1)
    assert world.told.events[0] == "disconnected"
    assert isinstance(connection.last_error, StaleConnection)
    await connection.close()


async def test_bytes_of_any_kind_are_a_sign_of_life(world: World):
    server = world.server()
    connection = await world.connected()
    server.answers_pings = False
    session = server.session
    session.say(b"MSG a 1 1000\r\n")
    for _ in range(30):
        await world.clock.advance(0.5)
        session.say(b"x")
    assert connection.is_connected
    await connection.close()


async def test_the_servers_pings_are_answered(world: World):
    server = world.server()
    connection = await world.connected()
    server.session.say(b"PING\r\n")
    await settle()
    assert server.session.lines[-1] == b"PONG"
    await connection.close()


async def test_a_ping_before_the_login_is_answered(world: World):
    server = world.server()
    server.greeting = b'INFO {"max_payload":100}\r\nPING\r\n'
    connection = await world.connected()
    assert server.session.lines[0] == b"PONG"
    assert connection.max_payload == 100
    await connection.close()


# Invariant 9: an error line ends nothing, the end of the socket does.


@pytest.mark.parametrize(
    "words",
    [
        b"Authorization Violation",
        b"Maximum Payload Violation",
        b"maximum subscriptions exceeded",
        b"Stale Connection",
        b'Permissions Violation for Publish to "a"',
        b"something new",
    ],
)
async def test_an_error_line_ends_nothing(world: World, words: bytes):
    server = world.server()
    connection = await world.connected()
    heard = Received()
    connection.subscribe("a", heard)
    await connection.flush()
    server.session.say(b"-ERR '%b'\r\n" % words)
    server.session.publish(b"a", b"1")
    await world.clock.advance(3)
    assert connection.is_connected
    assert len(server.sessions) == 1
    assert heard.payloads == [b"1"]
    assert world.told.words == [words.decode()]
    assert [type(error) for error in world.told.errors] == [ServerError]
    assert connection.stats.errors == 1
    await connection.close()


async def test_the_last_words_are_the_reason_when_the_socket_ends(world: World):
    server = world.server()
    connection = await world.connected()
    server.session.say(b"-ERR 'Maximum Payload Violation'\r\n-ERR 'Permissions Violation for Publish to \"a\"'\r\n")
    server.session.lose(ConnectionResetError("reset"))
    await settle()
    assert isinstance(connection.last_error, ServerError)
    assert connection.last_error.words == "Maximum Payload Violation"
    await connection.close()


async def test_words_about_a_permission_are_no_reason(world: World):
    server = world.server()
    connection = await world.connected()
    server.session.say(b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n")
    server.session.lose(None)
    await settle()
    assert isinstance(connection.last_error, ServerUnavailable)
    await connection.close()


# Coming back.


async def test_it_comes_back_at_once_and_says_its_subscriptions_again(world: World):
    server = world.server()
    connection = await world.connected()
    heard, broken, ready = Received(), [0], [0]
    connection.on_break(lambda: broken.append(1))
    connection.on_ready(lambda: ready.append(len(server.session.subscribed)))
    connection.subscribe("a", heard, queue="q")
    ended = connection.subscribe("b", heard)
    await world.clock.advance(2)
    server.session.lose(None)
    ended.unsubscribe()
    connection.send(pub_frame(b"p", b"kept"))
    await settle()
    assert connection.is_connected
    lines = server.session.lines
    assert lines[2:4] == [b"SUB a q 1", b"PUB p 4"]
    assert world.told.events == ["disconnected", "reconnected"]
    server.session.publish(b"a", b"again")
    assert heard.payloads == [b"again"]
    assert connection.stats.reconnects == 1
    assert broken == [0, 1]
    assert len(ready) == 2
    await connection.close()


async def test_a_connection_that_never_lasts_is_made_with_pauses(world: World):
    server = world.server()
    world.chance.jitter = 1.0
    connection = await world.connected()
    for _ in range(10):
        server.session.lose(None)
        await world.clock.advance(0.1)
    assert 5 <= len(server.sessions) <= 11
    await connection.close()


async def test_a_refused_identity_is_tried_more_and_more_slowly(world: World):
    server = world.server()
    world.chance.jitter = 1.0
    connection = await world.connected()
    await world.clock.advance(2)
    server.login_error = b"Authentication Expired"
    server.session.say(b"-ERR 'Authentication Expired'\r\n")
    server.session.lose(None)
    times: list[float] = []
    began, seen = world.clock.time, 1
    for _ in range(4000):
        await world.clock.advance(0.005)
        if len(server.sessions) > seen:
            seen = len(server.sessions)
            times.append(world.clock.time - began)
    gaps = [round(later - earlier, 1) for earlier, later in pairwise(times)]
    assert gaps == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert world.told.refused[1:] == [True] * (len(times))
    server.login_error = b""
    await world.clock.advance(5.1)
    assert connection.is_connected
    assert world.told.events == ["disconnected", "reconnected"]
    await connection.close()


async def test_an_identity_that_has_ended_closes_it_for_good(world: World):
    server = world.server()
    connection = await world.connected()
    closed: list[str] = []
    connection.on_close(lambda: closed.append("closed"))
    waiting = asyncio.create_task(connection.writable())
    world.told.ending = AccessDenied("the token of alice ended: `mts1b login` gets a new one")
    server.session.lose(None)
    waiting = asyncio.create_task(connection.writable())
    await world.clock.advance(0.2)
    assert connection.is_closed
    assert closed == ["closed"]
    assert connection.last_error is world.told.ending
    with pytest.raises(BusClosed, match="the token of alice ended"):
        await waiting
    with pytest.raises(BusClosed, match="the token of alice ended"):
        connection.send(pub_frame(b"a"))
    await connection.close()
    assert closed == ["closed"]


async def test_an_identity_that_has_ended_before_the_first_dial_is_told(world: World):
    world.server()
    world.told.ending = AccessDenied("the token ended")
    with pytest.raises(AccessDenied, match="the token ended"):
        await world.connection().connect()
    assert world.network.dialled == []


async def test_what_before_dial_raises_otherwise_is_reported(world: World):
    world.server()
    world.told.ending = ValueError("a bug")
    connection = await world.connected()
    assert connection.is_connected
    assert str(world.told.errors[0]) == "a bug"
    await connection.close()


# Several servers.


async def test_the_next_server_is_tried_first_when_one_breaks(world: World):
    first, second = world.server("10.0.0.1:4222"), world.server("10.0.0.2:4222")
    connection = await world.connected()
    first.session.lose(None)
    await world.clock.advance(0.2)
    assert len(second.sessions) == 1
    assert str(connection.connected_url) == "nats://10.0.0.2:4222"
    await connection.close()


async def test_servers_that_a_server_tells_of_are_dialled(world: World):
    first = world.server("10.0.0.1:4222", connect_urls=["10.0.0.1:4222", "10.0.0.9:4333", "nonsense", 7])
    told_of = world.server("10.0.0.9:4333")
    connection = await world.connected("nats://u:p@10.0.0.1:4222")
    first.refuses = True
    first.session.lose(None)
    await world.clock.advance(0.2)
    assert told_of.session.connect["user"] == "u", "credentials of the URL go to the same cluster"
    await connection.close()


async def test_without_discovery_they_are_not(world: World):
    first = world.server("10.0.0.1:4222", connect_urls=["10.0.0.9:4333"])
    told_of = world.server("10.0.0.9:4333")
    connection = await world.connected("nats://10.0.0.1:4222", discover=False)
    first.refuses = True
    first.session.lose(None)
    await world.clock.advance(1)
    assert told_of.sessions == []
    await connection.close()


async def test_a_server_in_lame_duck_is_left_at_once_and_nothing_is_lost(world: World):
    first, second = world.server("10.0.0.1:4222"), world.server("10.0.0.2:4222")
    connection = await world.connected()
    heard = Received()
    connection.subscribe("a", heard)
    await connection.flush()
    connection.send(pub_frame(b"p", b"before"))
    first.session.say(b'MSG a 1 1\r\n1\r\nINFO {"ldm":true}\r\nINFO {"ldm":true}\r\nMSG a 1 1\r\n2\r\n')
    connection.send(pub_frame(b"p", b"later"))
    await settle()
    assert connection.is_connected
    assert heard.payloads == [b"1", b"2"]
    assert [msg.payload for msg in first.messages] == [b"before"]
    assert [msg.payload for msg in second.messages] == [b"later"], "held back for the other server"
    assert second.session.subscribed == {b"1": b"a"}
    assert [type(error) for error in world.told.errors] == [ServerLeaving]
    assert world.clock.time == 1000.0, "without any wait"
    await connection.close()


async def test_a_server_that_reaches_nobody_is_left_after_ten_seconds_and_nothing_is_lost(world: World):
    first, second = world.server("10.0.0.1:4222"), world.server("10.0.0.2:4222")
    connection = await world.connected()
    for _ in range(10):
        connection.unanswered("mts.v1.oms.orders.filled")
        await world.clock.advance(1)
    connection.send(pub_frame(b"p", b"before"))
    assert world.told.errors == []
    connection.unanswered("mts.v1.oms.orders.filled")
    connection.send(pub_frame(b"p", b"later"))
    await settle()
    assert [msg.payload for msg in first.messages] == [b"before"]
    assert [msg.payload for msg in second.messages] == [b"later"]
    assert [type(error) for error in world.told.errors] == [ServerIsolated]
    assert "10.0.0.1:4222 has known nobody who answers mts.v1.oms.orders.filled for 10 s" in str(world.told.errors[0])
    connection.unanswered("mts.v1.oms.orders.filled")
    await settle()
    assert world.told.events == ["disconnected", "reconnected"], "the other one is given as long"
    await connection.close()


async def test_where_no_server_reaches_the_leader_they_are_left_less_and_less_often(world: World):
    for number in (1, 2, 3):
        world.server(f"10.0.0.{number}:4222")
    connection = await world.connected("nats://10.0.0.1:4222", "nats://10.0.0.2:4222", "nats://10.0.0.3:4222")
    for _ in range(320):
        connection.unanswered("a")
        await world.clock.advance(1)
    assert [str(error).partition(" for ")[2].partition(" s:")[0] for error in world.told.errors] == [
        "10",
        "20",
        "40",
        "80",
        "160",
    ]
    await world.clock.advance(6)  # the leader is back
    for _ in range(12):
        connection.unanswered("a")
        await world.clock.advance(1)
    assert " for 10 s" in str(world.told.errors[-1])
    await connection.close()


async def test_short_outages_that_are_apart_or_have_no_other_server_move_nobody(world: World):
    world.server("10.0.0.1:4222")
    connection = await world.connected("nats://10.0.0.1:4222", "nats://10.0.0.2:4222")
    for _ in range(5):
        connection.unanswered("a")
        await world.clock.advance(6)
    assert world.told.errors == []
    await connection.close()
    connection = await world.connected("nats://10.0.0.1:4222")
    for _ in range(30):
        connection.unanswered("a")
        await world.clock.advance(1)
    assert world.told.errors == []
    await connection.close()


async def test_a_server_in_lame_duck_that_is_slow_gets_nothing_after_the_last_ping(world: World):
    first, second = world.server("10.0.0.1:4222"), world.server("10.0.0.2:4222")
    connection = await world.connected()
    session = first.session
    session.pause()
    connection.send(pub_frame(b"p", b"before"))
    first.answers_pings = False
    session.say(b'INFO {"ldm":true}\r\n')
    connection.send(pub_frame(b"p", b"later"))
    session.resume()
    await settle()
    assert session.lines[-1] == b"PING"
    session.say(b"PONG\r\n" * 2)
    await settle()
    assert [msg.payload for msg in first.messages] == [b"before"]
    assert [msg.payload for msg in second.messages] == [b"later"]
    await connection.close()


async def test_the_only_server_in_lame_duck_is_kept_until_it_closes(world: World):
    server = world.server()
    connection = await world.connected()
    server.session.say(b'INFO {"ldm":true}\r\n')
    await world.clock.advance(10)
    assert connection.is_connected
    assert len(server.sessions) == 1
    await connection.close()


# Hostile and broken servers.


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"INFO nonsense\r\n",
        b"INFO [1]\r\n",
        b"MSG a 1 x\r\n",
        b"\x15\x03\x01\x00\x02\x02\r\n",
    ],
)
@pytest.mark.parametrize("standing", [True, False])
async def test_what_cannot_be_understood_ends_the_link(world: World, garbage: bytes, standing: bool):
    server = world.server()
    if standing:
        connection = await world.connected()
        server.session.say(garbage)
        await world.clock.advance(0.2)
        assert connection.is_connected
        assert len(server.sessions) == 2
    else:
        server.greeting = garbage
        connection = world.connection()
        connecting = asyncio.create_task(connection.connect(deadline=0.01))
        await world.clock.advance(0.02)
        with pytest.raises(ServerUnavailable, match=r"understood|INFO"):
            await connecting
    assert isinstance(world.told.errors[0], ProtocolViolation)
    await connection.close()


async def test_a_server_without_tls_is_not_told_the_token(world: World):
    import ssl

    server = world.server()
    connection = world.connection(credentials=lambda: Credentials(tls=ssl.create_default_context(), token="secret"))
    connecting = asyncio.create_task(connection.connect(deadline=0.01))
    await world.clock.advance(0.02)
    with pytest.raises(ServerUnavailable, match="offers no TLS"):
        await connecting
    assert server.session.lines == []


@pytest.mark.parametrize("more", [b"", b"PUB", b"INFO {}"])
async def test_what_was_put_before_tls_ends_the_link(world: World, more: bytes):
    server = world.server(tls_required=True)
    server.greeting = b'INFO {"tls_required":true}\r\n' + more
    connection = world.connection()
    connecting = asyncio.create_task(connection.connect(deadline=0.01))
    await world.clock.advance(0.02)
    if more:
        with pytest.raises(ServerUnavailable, match="before TLS"):
            await connecting
        assert server.session.lines == []
    else:
        await connecting
        assert server.session.secure
        assert server.session.connect["tls_required"] is True
    await connection.close()


# Invariant 8: closed is final.


@pytest.mark.parametrize("moment", range(12))
async def test_closing_at_any_moment_ends_everything(world: World, moment: int):
    server = world.server()
    before = asyncio.all_tasks()
    connection = world.connection()
    connecting = asyncio.create_task(connection.connect())
    for _ in range(moment):
        await asyncio.sleep(0)
    await connection.close()
    assert connection.is_closed
    with pytest.raises(BusClosed) if not connecting.done() or connecting.exception() else _nothing():
        await connecting
    assert asyncio.all_tasks() == before
    await world.clock.advance(60)
    assert connection.is_closed
    assert all(session.closed for session in server.sessions)
    assert world.clock.pending == 0


async def test_closing_twice_at_a_time_waits_for_the_same_end(world: World):
    server = world.server()
    connection = await world.connected()
    server.session.stuck = True
    first, second = asyncio.create_task(connection.close()), asyncio.create_task(connection.close())
    await settle()
    first.cancel()
    await world.during(1, second)
    await world.clock.advance(1.1)
    await second
    assert first.cancelled()
    assert server.session.closed


async def test_a_closed_connection_refuses_everything(world: World):
    world.server()
    connection = await world.connected()
    await connection.close()
    frame = pub_frame(b"a")
    calls: list[Any] = [
        lambda: connection.send(frame),
        lambda: connection.send_many([frame]),
        lambda: connection.send_volatile(frame),
        lambda: connection.ack(b"r"),
        lambda: connection.subscribe("a", Received()),
    ]
    for call in calls:
        with pytest.raises(BusClosed, match=r"connect\(\) again"):
            call()
    for wait in (connection.flush, connection.writable, lambda: connection.request("a", timeout=1)):
        with pytest.raises(BusClosed):
            await wait()


async def test_events_that_were_not_sent_are_told_when_it_closes(world: World):
    server = world.server()
    connection = await world.connected()
    server.refuses = True
    server.session.lose(None)
    await settle()
    connection.send(pub_frame(b"a", b"1"))
    connection.send(pub_frame(b"a", b"2"))
    await connection.close()
    assert "2 messages unsent" in str(world.told.errors[-1])


async def test_an_error_in_a_callback_for_errors_is_the_loops(world: World):
    world.server()
    seen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))

    def fail(_: object) -> None:
        raise ValueError("a bug")

    options = ConnectionOptions(servers=("nats://10.0.0.1",))
    connection = Connection(options, callbacks=Callbacks(error=fail, server_said=fail), network=world.network)
    await connection.connect(5)
    world.network.servers["10.0.0.1:4222"].session.say(b"-ERR 'x'\r\n")
    assert [str(context["exception"]) for context in seen] == ["a bug"] * 2
    assert connection.is_connected
    await connection.close()


@pytest.mark.parametrize("wrong", ["servers", "connect_timeout", "ping_interval", "max_outstanding_pings"])
def test_options_without_sense_are_refused(wrong: str):
    options: dict[str, Any] = {"servers": ("nats://a",), wrong: () if wrong == "servers" else 0}
    with pytest.raises(ValueError, match=r"server|greater than 0|whole number from 1"):
        ConnectionOptions(**options)


async def test_a_url_of_another_protocol_is_refused(world: World):
    with pytest.raises(ValueError, match="http://x"):
        world.connection("http://x")


class _nothing:  # noqa: N801 - stands where pytest.raises stands
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
