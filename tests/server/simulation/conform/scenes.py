"""The scenes: what the two servers are asked, step by step."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from simulation.conform.client import NS, Client

Scene = Callable[[Client, str], Awaitable[None]]
SCENES: Final[dict[str, Scene]] = {}


def scene(function: Scene) -> Scene:
    """Add a scene. It is given a client, and a name that no other scene's streams begin with."""
    SCENES[function.__name__] = function
    return function


async def make(client: Client, stream: str, messages: int = 5, ack_wait: float = 30.0, **options: Any) -> None:
    """A stream with so many messages, and its durable ``d``."""
    await make_stream(client, stream)
    for number in range(1, messages + 1):
        await client.ask(f"{stream}.m", str(number).encode())
    config: dict[str, Any] = {
        "durable_name": "d",
        "name": "d",
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "max_deliver": -1,
        "max_ack_pending": 1000,
        "ack_wait": int(ack_wait * NS),
    }
    body = {"stream_name": stream, "config": config | options, "action": "create"}
    client.note(await client.ask(f"$JS.API.CONSUMER.CREATE.{stream}.d", body))


async def make_stream(client: Client, stream: str, **options: Any) -> None:
    config: dict[str, Any] = {
        "name": stream,
        "subjects": [f"{stream}.>"],
        "duplicate_window": NS,
        "allow_atomic": True,
        "storage": "file",
        "retention": "limits",
        "num_replicas": 1,
        "discard": "old",
    }
    await client.ask(f"$JS.API.STREAM.CREATE.{stream}", config | options)


def pull(
    client: Client,
    stream: str,
    batch: int,
    *,
    tag: str = "p",
    expires: float = 30.0,
    heartbeat: float = 0.0,
    **more: Any,
) -> None:
    request: dict[str, Any] = {"batch": batch} | more
    if expires:
        request["expires"] = int(expires * NS)
    if heartbeat:
        request["idle_heartbeat"] = int(heartbeat * NS)
    raw_pull(client, stream, json.dumps(request), f"{client.inbox}.{tag}")


def raw_pull(client: Client, stream: str, request: str, inbox: str) -> None:
    client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.d", request, inbox)


async def tell_state(client: Client, stream: str) -> None:
    """Write down where the durable stands."""
    info = await client.document(f"$JS.API.CONSUMER.INFO.{stream}.d")
    numbers = {name: info[name] for name in ("num_ack_pending", "num_pending", "num_redelivered", "num_waiting")}
    at = {name: [info[name]["consumer_seq"], info[name]["stream_seq"]] for name in ("ack_floor", "delivered")}
    client.note(f"state {numbers | at}")


async def taken(client: Client, stream: str, count: int) -> dict[int, str]:
    """Pull so many and say nothing of it; where to answer them."""
    pull(client, stream, count)
    await client.hear(count)
    replies = client.replies()
    client.tell()
    return replies


@scene
async def naks_are_redelivered_in_their_own_order(client: Client, name: str) -> None:
    await make(client, name)
    replies = await taken(client, name, 5)
    for order in ((1, 2, 3, 4, 5), (5, 4, 3, 2, 1), (3, 1, 5, 2, 4)):
        for seq in order:
            client.publish(replies[seq], "-NAK")
        pull(client, name, 5)
        await client.hear(5)
        replies = client.replies()
        client.tell(f"{order}")


async def _abandoned_pull(client: Client, name: str) -> dict[int, str]:
    """Messages delivered to an inbox that nobody listens to any more, whose pull is open."""
    await make(client, name)
    gone = client.subscribe(f"GONE.{name}")
    raw_pull(client, name, json.dumps({"batch": 8, "expires": 30 * NS}), f"GONE.{name}")
    await client.hear(5)
    replies = client.replies()
    client.tell()
    client.unsubscribe(gone)
    await client.ask("$JS.API.INFO")
    return replies


@scene
async def the_first_message_tried_on_an_abandoned_pull_goes_to_the_end(client: Client, name: str) -> None:
    replies = await _abandoned_pull(client, name)
    client.write(b"".join(b"PUB %b 4\r\n-NAK\r\n" % replies[seq].encode() for seq in range(1, 6)))
    await client.ask("$JS.API.INFO")
    await asyncio.sleep(0.1)
    pull(client, name, 5)
    await client.hear(5)
    client.tell()
    await tell_state(client, name)


@scene
async def naks_with_pauses_find_no_abandoned_pull(client: Client, name: str) -> None:
    replies = await _abandoned_pull(client, name)
    for seq in range(1, 6):
        client.publish(replies[seq], "-NAK")
        await asyncio.sleep(0.05)
    pull(client, name, 5)
    await client.hear(5)
    client.tell()


@scene
async def ack_wait_ends_in_the_order_of_the_stream(client: Client, name: str) -> None:
    await make(client, name, 4, ack_wait=1.0)
    client.restart_clock()
    pull(client, name, 20)
    await client.hear(4)
    first = client.replies()
    client.publish(first[2], "+ACK")
    await client.hear(10, after=0.4)
    client.tell(times=True)
    await tell_state(client, name)
    client.note(f"acks of the first deliveries count: {await client.ask(first[1], b'+ACK')}")
    client.note(await client.ask(first[3], b"+ACK"))
    await tell_state(client, name)


@scene
async def delayed_naks_come_when_their_delay_is_over(client: Client, name: str) -> None:
    await make(client, name)
    replies = await taken(client, name, 5)
    for seq, delay in ((1, 400_000_000), (3, 700_000_000), (5, 100_000_000)):
        client.publish(replies[seq], f'-NAK {{"delay":{delay}}}')
    pull(client, name, 5)
    await client.hear(3)
    client.tell()


@scene
async def max_ack_pending_stops_new_messages_only(client: Client, name: str) -> None:
    await make(client, name, 8, ack_wait=1.0, max_ack_pending=3)
    pull(client, name, 20)
    await client.hear(3)
    replies = client.replies()
    client.tell()
    client.publish(replies[2], "+ACK")
    await client.hear(1)
    client.tell("after an ack")
    await client.hear(3)
    client.tell("ack wait is over, at the limit")
    client.publish(replies[1], "-NAK")
    await client.hear(1)
    client.tell("nak at the limit")


@scene
async def a_pull_that_waits_is_told_of_heartbeats_and_its_end(client: Client, name: str) -> None:
    await make(client, name, 1)
    client.restart_clock()
    pull(client, name, 3, expires=2.0, heartbeat=0.9)
    await client.hear(4)
    client.tell()
    pull(client, name, 2, expires=0.5, no_wait=True)
    await client.hear(1, after=0.5)
    client.tell("no wait with an end")
    pull(client, name, 3, expires=0, no_wait=True)
    await client.hear(1)
    client.tell("no wait")


@scene
async def requests_that_are_no_pulls(client: Client, name: str) -> None:
    await make(client, name, 1)
    await taken(client, name, 1)
    pull(client, name, 3, expires=1.0, heartbeat=0.6)
    await client.hear(1)
    client.tell("heartbeat too large")
    raw_pull(client, name, "{nonsense", f"{client.inbox}.x")
    await client.hear(1)
    client.tell("no JSON")
    raw_pull(client, name, "-3", f"{client.inbox}.x")
    await client.hear(0)
    client.tell("minus three")
    await tell_state(client, name)


@scene
async def too_many_pulls_are_refused_or_dropped_without_a_word(client: Client, name: str) -> None:
    await make(client, name, 0, max_waiting=2)
    pull(client, name, 1)
    pull(client, name, 1)
    pull(client, name, 1, heartbeat=5.0)
    await client.hear(0)
    client.tell("with a heartbeat")
    pull(client, name, 1)
    await client.hear(1)
    client.tell("without")
    await tell_state(client, name)


@scene
async def pulls_take_turns(client: Client, name: str) -> None:
    await make(client, name, 0)
    for tag in ("a", "b"):
        pull(client, name, 4, tag=tag)
        await client.ask("$JS.API.INFO")
        await asyncio.sleep(0.1)
    for number in range(6):
        await client.ask(f"{name}.m", str(number).encode())
        await client.hear(number + 1, after=0)
    client.tell(inboxes=True)


@scene
async def repeats_are_recognised_within_the_window(client: Client, name: str) -> None:
    await make_stream(client, name)
    for pause in (0, 0, 0.5, 0.8):
        await asyncio.sleep(pause)
        client.note(await client.ask(f"{name}.m", b"x", {"Nats-Msg-Id": "k"}))
    client.note(await client.ask(f"{name}.m", b"x", {"Nats-Expected-Last-Sequence": "77"}))
    client.note(await client.ask(f"{name}.m", b"x", {"Nats-Expected-Last-Msg-Id": "zz"}))


@scene
async def atomic_batches(client: Client, name: str) -> None:
    await make_stream(client, name)

    async def member(batch: str, number: int, *, commit: bool = False, message_id: str = "") -> None:
        headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        headers |= {"Nats-Batch-Commit": "1"} if commit else {}
        headers |= {"Nats-Msg-Id": message_id} if message_id else {}
        answer = await client.silent(f"{name}.m", b"x", headers)
        client.note(f"{batch} {number}: {answer}")

    await member("whole", 1)
    await member("whole", 2, commit=True, message_id="k1")
    await member("gap", 1)
    await member("gap", 3)
    await member("gap", 4, commit=True)
    await member("unknown", 2, commit=True)
    await member("known", 1, message_id="k1")
    await member("known", 2, commit=True)
    await member("twice", 1, message_id="k2")
    await member("twice", 2, commit=True, message_id="k2")
    await member("single", 1, commit=True)
    await member("zero", 0)
    await member("middle", 1)
    await member("middle", 2)
    await member("middle", 3, commit=True)
    client.note(await client.ask(f"{name}.m", b"x"))


@scene
async def answers_to_a_message(client: Client, name: str) -> None:
    await make(client, name, 6, ack_wait=1.0)
    replies = await taken(client, name, 6)
    client.restart_clock()
    client.publish(replies[1], '-NAK {"delay":500000000}')
    client.publish(replies[2], "+TERM why")
    client.publish(replies[3], "+WPI")
    client.note(await client.ask(replies[4], b"+ACK"))
    client.publish(replies[5], "")
    client.publish(replies[6], "nonsense")
    await asyncio.sleep(0.7)
    client.publish(replies[3], "+WPI")
    await asyncio.sleep(0.3)
    pull(client, name, 20)
    await client.hear(5)
    client.tell()
    client.note(f"again: {await client.ask(replies[4], b'+ACK')}")
    beyond = f"$JS.ACK.{name}.d.1.99.99.1900000000000000000.0"
    client.note(f"beyond the end: {await client.silent(beyond, b'+ACK')}")
    await tell_state(client, name)


@scene
async def the_ack_floor(client: Client, name: str) -> None:
    await make(client, name, 6)
    replies = await taken(client, name, 6)
    for seq in (3, 1, 2, 6, 5, 4):
        client.note(f"acked {seq}: {await client.ask(replies[seq], b'+ACK')}")
        await tell_state(client, name)


@scene
async def the_ack_floor_and_redeliveries(client: Client, name: str) -> None:
    await make(client, name, 4)
    pull(client, name, 30)
    await client.hear(4)
    first = client.replies()
    client.tell()
    client.publish(first[1], "-NAK")
    await client.hear(1)
    second = client.replies()
    client.tell()
    client.note(await client.ask(first[2], b"+ACK"))
    await tell_state(client, name)
    client.note(await client.ask(second[1], b"+ACK"))
    await tell_state(client, name)
    client.publish(first[3], "-NAK")
    await client.hear(1)
    client.tell()
    client.publish(first[3], "-NAK")
    await client.hear(1)
    client.tell("by the first delivery's reply again")


@scene
async def a_consumer_or_stream_is_deleted(client: Client, name: str) -> None:
    await make(client, name, 0)
    pull(client, name, 1)
    await client.hear(0)
    client.note(await client.ask(f"$JS.API.CONSUMER.DELETE.{name}.d"))
    await client.hear(1)
    client.tell()
    pull(client, name, 1)
    await client.hear(1)
    client.tell("no consumer")
    client.note(await client.ask(f"$JS.API.CONSUMER.INFO.{name}.d"))
    other = f"{name}B"
    await make(client, other, 0)
    pull(client, other, 1)
    await client.hear(0)
    client.note(await client.ask(f"$JS.API.STREAM.DELETE.{other}"))
    await client.hear(1)
    client.tell("stream deleted")
    client.note(await client.ask(f"{other}.m", b"x"))
    client.note(await client.ask(f"$JS.API.CONSUMER.INFO.{other}.d"))


@scene
async def max_deliver_ends_redelivery(client: Client, name: str) -> None:
    await make(client, name, 2, ack_wait=0.5, max_deliver=2)
    client.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.*.{name}.d")
    pull(client, name, 30)
    await client.hear(2)
    client.publish(client.replies()[2], "+TERM bad")
    await client.hear(5)
    client.tell()
    await tell_state(client, name)


@scene
async def names_and_things_that_exist_already(client: Client, name: str) -> None:
    await make(client, name, 0)
    state = (await client.document(f"$JS.API.STREAM.INFO.{name}"))["state"]
    client.note({field: state[field] for field in ("messages", "first_seq", "last_seq", "consumer_count")})
    config = {"durable_name": "d", "name": "d", "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": 5 * NS}
    body = {"stream_name": name, "config": config, "action": "create"}
    client.note(await client.ask(f"$JS.API.CONSUMER.CREATE.{name}.d", body))
    client.note(await client.ask(f"$JS.API.STREAM.INFO.no{name}"))
    names = await client.document("$JS.API.STREAM.NAMES", {"subject": f"{name}.m"})
    client.note(names.get("streams"))
    names = await client.document("$JS.API.STREAM.NAMES", {"subject": f"no{name}.m"})
    client.note(names.get("streams"))


@scene
async def subjects_queues_and_nobody(client: Client, name: str) -> None:
    client.note(await client.ask(f"{name}.nobody"))
    client.subscribe(f"{name}.q", "workers")
    client.subscribe(f"{name}.q", "workers")
    client.subscribe(f"{name}.*")
    once = client.subscribe(f"{name}.>")
    client.unsubscribe(once, 1)
    for number in (1, 2):
        client.publish(f"{name}.q", str(number))
    await client.hear(5)
    client.tell(inboxes=True)
    client.publish(f"{name}.m", "headers", "", {"A": "b"})
    await client.hear(1)
    client.tell(inboxes=True)


@scene
async def keys_and_values(client: Client, name: str) -> None:
    await make_stream(client, name, max_msgs_per_subject=1, allow_msg_ttl=True, allow_rollup_hdrs=True)

    async def put(key: str, value: bytes, expected: int, ttl: str = "") -> None:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)} | ({"Nats-TTL": ttl} if ttl else {})
        client.note(f"{key} {value} at {expected}: {await client.ask(f'{name}.{key}', value, headers)}")

    async def get(key: str) -> None:
        document = await client.document(f"$JS.API.STREAM.MSG.GET.{name}", {"last_by_subj": f"{name}.{key}"})
        message = document.get("message")
        client.note(f"{key}: {(message['seq'], message['data']) if message else document['error']}")

    await put("a", b"1", 0)
    await put("a", b"2", 0)
    await put("a", b"3", 1)
    await put("b", b"1", 1)
    await get("a")
    await get("b")
    await put("b", b"1", 0, ttl="1s")
    await get("b")
    await asyncio.sleep(2.3)
    await get("b")
    await put("b", b"2", 3)
    await put("b", b"2", 0)
    info = await client.document(f"$JS.API.STREAM.INFO.{name}", {"subjects_filter": f"{name}.>"})
    client.note(f"{info['state']['messages']} messages, {info['state']['subjects']}")


@scene
async def a_payload_that_is_too_large(client: Client, name: str) -> None:
    client.publish(f"{name}.m", b"x" * ((1 << 20) + 1))
    await client.hear(1)
    client.tell()


@scene
async def spaces_and_tabs_alone_part_words(client: Client, name: str) -> None:
    await make(client, name, 0)
    for odd in ("\x0b", "\x0c", "\x1c", "\x85", "\x01", "é"):
        client.note(await client.ask(f"{name}.a{odd}b", repr(odd).encode(), {"A": "b"}))
    pull(client, name, 20)
    await client.hear(6)
    client.tell()
    client.write(f"SUB\t{name}.t\t\t99\r\nPUB  {name}.t \t 1\r\nx\r\n".encode())
    await client.hear(1)
    client.tell("with tabs")


@scene
async def header_blocks_are_not_read_by_the_server(client: Client, name: str) -> None:
    await make(client, name, 0)
    blocks = (
        b"A: b\r\nA: c\r\n",
        b"A: \xff\xfe\r\n",
        b": b\r\n",
        b"no colon\r\n",
        b"A : b\r\n",
        b"A:\tb \r\n",
        b"\r\n",
    )
    for number, block in enumerate(blocks):
        head = b"NATS/1.0\r\n" + block + b"\r\n"
        client.write(f"HPUB {name}.m {len(head)} {len(head) + 1}\r\n".encode() + head + b"%d\r\n" % number)
    for message_id in ("x", "x", ""):
        client.note(await client.ask(f"{name}.m", b"x", {"nats-msg-id": message_id}))
    head = b"NATS/1.0\r\nNats-Msg-Id: y\r\nNats-Msg-Id: z\r\n\r\n"
    for _ in "12":
        client.write(f"HPUB {name}.m {len(head)} {len(head) + 1}\r\n".encode() + head + b"d\r\n")
    client.note(await client.ask(f"{name}.m", b"d", {"Nats-Msg-Id": "y"}))  # answered once those before it are stored
    pull(client, name, 40)
    await client.hear(len(blocks))
    client.tell()
    state = (await client.document(f"$JS.API.STREAM.INFO.{name}"))["state"]
    client.note(state["messages"])


@scene
async def a_full_stream_refuses(client: Client, name: str) -> None:
    await make_stream(client, name, max_msgs=2, discard="new")
    for number in range(4):
        client.note(await client.ask(f"{name}.m", b"x", {"Nats-Msg-Id": f"k{number}"}))
    client.note(await client.ask(f"{name}.m", b"x", {"Nats-Msg-Id": "k1"}))
    client.note(await client.ask(f"$JS.API.STREAM.MSG.DELETE.{name}", {"seq": 1}))
    for number in (2, 3):
        client.note(await client.ask(f"{name}.m", b"x", {"Nats-Msg-Id": f"k{number}"}))
    state = (await client.document(f"$JS.API.STREAM.INFO.{name}"))["state"]
    client.note({field: state[field] for field in ("messages", "first_seq", "last_seq")})


PINNED: Final[dict[str, Any]] = {"priority_groups": ["o"], "priority_policy": "pinned_client", "priority_timeout": NS}


@scene
async def a_pinned_consumer_serves_who_has_the_pin(client: Client, name: str) -> None:
    await make(client, name, **PINNED)
    pull(client, name, 1, tag="first", group="o")
    await client.hear(1)
    pin = client.pin()
    client.tell("without a pin", inboxes=True)
    pull(client, name, 2, tag="waits", group="o")
    pull(client, name, 1, tag="wrong", group="o", id="NOBODYS")
    await client.hear(1)
    client.tell("another pin", inboxes=True)
    pull(client, name, 1, tag="pinned", group="o", id=pin)
    await client.hear(1)
    client.tell("the pin", inboxes=True)
    pull(client, name, 1, tag="alive", expires=0.001, group="o", id=pin, max_bytes=1)
    await client.hear(1)
    client.tell("a sign of life", inboxes=True)
    pull(client, name, 1, tag="groupless")
    await client.hear(1)
    client.tell("without a group", inboxes=True)
    client.publish(f"$JS.API.CONSUMER.UNPIN.{name}.d", json.dumps({"group": "o"}))
    await client.hear(2)
    assert client.pin() not in ("", pin)
    client.tell("given back", inboxes=True)
    pull(client, name, 1, tag="late", group="o", id=pin)
    await client.hear(1)
    client.tell("a pin that is over", inboxes=True)
    await tell_state(client, name)


@scene
async def a_pin_is_over_when_no_pull_has_named_it(client: Client, name: str) -> None:
    await make(client, name, **PINNED)
    pull(client, name, 1, tag="first", group="o")
    await client.hear(1)
    pin = client.pin()
    client.tell()
    pull(client, name, 1, tag="waits", group="o")
    await client.hear(0, after=0.6)
    pull(client, name, 1, tag="alive", expires=0.001, group="o", id=pin, max_bytes=1)
    await client.hear(1, after=0.6)
    client.tell("kept by a sign of life", inboxes=True)
    await client.hear(1)
    client.tell("then another is served", inboxes=True)
    await tell_state(client, name)


@scene
async def anybody_may_call_back_what_another_holds(client: Client, name: str) -> None:
    await make(client, name, **PINNED)
    pull(client, name, 3, tag="dead", group="o")
    await client.hear(3)
    client.tell()
    client.publish(f"$JS.API.CONSUMER.UNPIN.{name}.d", json.dumps({"group": "o"}))
    for seq in (1, 2, 3):
        client.note(await client.ask(f"$JS.ACK.{name}.d.1.{seq}.3.0.0", b"-NAK"))
    pull(client, name, 3, tag="heir", group="o")
    await client.hear(3)
    client.tell("called back", inboxes=True)
    await tell_state(client, name)
