"""nats-py beside the bus: a client of its own that connects when it is first used, and is left as it is."""

import ast
import asyncio
import inspect
import json

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import BusClosed, EventBus, ServerUnavailable, raw
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.micro import add_service  # pyright: ignore[reportUnknownVariableType] - partly untyped
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, ServiceConfig

WAIT = 60.0


async def test_it_is_one_client_which_connects_when_it_is_first_used(bus: EventBus):
    client = bus.nats
    assert isinstance(client, Client)
    assert bus.nats is client
    assert not client.is_connected
    await client.flush()
    assert client.is_connected
    assert bus.is_connected


@pytest.mark.parametrize("first", ["publish", "subscribe", "request", "flush", "stream_info"])
async def test_whatever_is_asked_of_it_first_connects(bus: EventBus, first: str):
    heard = await bus.subscribe("greet", cb=lambda message: message.respond(b"pong") if message.reply else _nothing())
    await bus.flush(WAIT)
    if first == "publish":
        await bus.nats.publish("greet", b"x")
        await bus.nats.flush()
    elif first == "subscribe":
        subscription = await bus.nats.subscribe("greet")
        await bus.nats.flush()
        await bus.publish("greet", b"x")
        assert (await subscription.next_msg(timeout=WAIT)).data == b"x"
    elif first == "request":
        assert (await bus.nats.request("greet", b"ping", timeout=WAIT)).data == b"pong"
    elif first == "flush":
        await bus.nats.flush()
    else:
        assert (await bus.jetstream(timeout=WAIT).stream_info("OMS_ORDERS")).state.messages == 0
    assert bus.nats.is_connected
    await heard.drain()


async def _nothing() -> None:
    """Nobody asked."""


async def test_many_that_use_it_at_once_share_one_connection(bus: EventBus, connect_bus: ConnectBus):
    await asyncio.gather(*[bus.nats.publish("greet", b"%d" % n) for n in range(50)])
    first, last = bus.nats.client_id, (await connect_bus()).server_info["client_id"]
    assert first is not None
    assert last == first + 1, "the server numbers its clients"


async def test_its_inboxes_are_those_of_the_service(bus: EventBus):
    assert bus.nats.new_inbox().startswith("_INBOX_mts1b-oms.")
    assert not bus.nats.is_connected, "that needs no connection"


async def test_key_value_buckets_work(bus: EventBus):
    bucket = await bus.jetstream(timeout=WAIT).create_key_value(bucket="b")  # pyright: ignore[reportUnknownMemberType] - partly untyped
    await bucket.put("k", b"v")
    assert (await bucket.get("k")).value == b"v"


async def test_micro_services_work_and_the_bus_asks_them(bus: EventBus):
    async def answer(request: Request) -> None:
        await request.respond(request.data.upper())

    await bus.nats.flush()
    service = await add_service(bus.nats, ServiceConfig(name="greeter", version="1.0.0"))
    await service.add_endpoint(EndpointConfig(name="greet", subject="svc.greet", handler=answer))
    await bus.nats.flush()
    assert (await bus.request("svc.greet", b"hello", WAIT)).data == b"HELLO"
    assert json.loads((await bus.request("$SRV.PING", timeout=WAIT)).data)["name"] == "greeter"
    await service.stop()


async def test_what_is_stored_through_either_is_seen_by_the_other(bus: EventBus):
    ack = await bus.emit(OMS_ORDERS_CREATED, ORDER)
    message = await bus.jetstream(timeout=WAIT).get_msg(ack.stream, ack.seq)
    assert (message.headers or {})["Nats-Msg-Id"] == ack.msg_id
    again = await bus.plain_jetstream(timeout=WAIT).publish(
        f"mts.v1.oms.orders.created.fund.{ORDER.fund_id}", b"{}", headers={"Nats-Msg-Id": ack.msg_id}
    )
    assert (again.seq, again.duplicate) == (ack.seq, True)
    assert (await js_api(bus, "STREAM.INFO.OMS_ORDERS", timeout=WAIT))["state"]["messages"] == 1


async def test_it_survives_a_restart_of_the_server(bus: EventBus, nats_server: NatsServer):
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(msg: Msg) -> None:
        arrived.put_nowait(msg.data)

    await bus.nats.subscribe("greet", cb=take)
    await bus.nats.flush()
    nats_server.kill()
    await nats_server.restart()
    async with asyncio.timeout(WAIT):
        assert await bus.wait_connected(WAIT)
        while arrived.empty():  # it comes back by nats-py's own rules
            await bus.publish("greet", b"after")
            await asyncio.sleep(0.05)
    assert arrived.get_nowait() == b"after"


@pytest.mark.parametrize("used", [False, True])
async def test_it_is_closed_with_the_bus(bus: EventBus, used: bool):
    client = bus.nats
    if used:
        await client.flush()
    before = asyncio.all_tasks()
    await bus.close()
    assert client.is_closed or not used
    assert not client.is_connected
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert not left
    with pytest.raises(BusClosed):
        await client.publish("greet")
    with pytest.raises(BusClosed):
        await bus.nats.publish("greet")


async def test_a_server_that_is_away_is_said_in_time_and_connected_to_when_it_is_back(
    connect_bus: ConnectBus, nats_server: NatsServer
):
    bus = await connect_bus(connect_timeout=3)
    nats_server.kill()
    for _ in range(2):
        with pytest.raises(ServerUnavailable, match=r"nats-py cannot connect to nats://127\.0\.0\.1:\d+ within 3 s"):
            await asyncio.wait_for(bus.nats.publish("greet"), WAIT)
    await nats_server.restart()
    await bus.nats.publish("greet")
    assert bus.nats.is_connected


async def test_closing_the_bus_ends_its_connecting(bus: EventBus, nats_server: NatsServer):
    nats_server.kill()
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(bus.nats.publish("greet"))
    await asyncio.sleep(0)
    await asyncio.wait_for(bus.close(), WAIT)
    with pytest.raises(BusClosed):
        await asyncio.wait_for(waiting, WAIT)
    assert not [task for task in asyncio.all_tasks() - before if not task.done()]


async def test_no_private_part_of_nats_py_is_touched_or_hidden():
    tree = ast.parse(inspect.getsource(raw))
    foreign = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
        and ast.unparse(node.value) not in {"self._bus", "bus"}
    ]
    assert foreign == []
    bases = {"NatsClient": Client(), "JetStream": JetStreamContext(Client())}
    for kind in tree.body:
        if isinstance(kind, ast.ClassDef) and kind.name in bases:
            ours = {node.attr for node in ast.walk(kind) if isinstance(node, ast.Attribute)}
            ours |= {node.name for node in ast.walk(kind) if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)}
            private = {name for name in ours if name.startswith("_") and not name.startswith("__")}
            assert not private & set(dir(bases[kind.name])), kind.name
