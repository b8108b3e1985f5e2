"""Whatever the server accepts on a registered subject is handled or a dead letter, and the reader lives."""

import asyncio
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mts1b_platform.eventbus import Event
from outcome_readers import SURFACES, reading
from outcome_world import ENVELOPE, STREAM, World, order

NUMBERS = count(10_000)
_NO_TOKEN = frozenset(b" \t\r\n\0.*>")
TOKENS = st.binary(min_size=1, max_size=24).map(lambda raw: bytes(b for b in raw if b not in _NO_TOKEN)).filter(bool)
SUBJECTS = st.one_of(
    st.just(b"mts.v1.oms.orders.created"), TOKENS.map(lambda token: b"mts.v1.oms.orders.created.fund." + token)
)
NAMES = st.one_of(
    st.sampled_from(
        [b"mts-schema", b"MTS-SCHEMA", b"mts-trace-id", b"traceparent", b"Nats-Msg-Id", b"nats-ttl",
         b"Nats-Expected-Stream", b"Content-Type", b"Nats-Batch-Id", b"Mts-Idempotency-Key", b"mts-source-repo",
         b"mts-only-durable", b"MTS-Only-Durable"]
    ),
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").replace(b":", b"")),
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            b"mts1b_foundation.orders.Order:v1",
            b"mts1b_foundation.orders.Order:v99",
            b"",
            b"  ",
            b"\xff",
            b"any",
            b"another",
        ]
    ),
    st.binary(max_size=60).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    st.just(b"@long@"),
)
LINES = st.tuples(NAMES, st.sampled_from([b":", b": ", b":  ", b" : "]), VALUES).map(
    lambda line: b"".join(line) + b"\r\n"
)
WELL = b"".join(f"{name}: {value}\r\n".encode() for name, value in ENVELOPE.items())
HEADERS = st.tuples(st.sampled_from([b"", WELL, WELL]), st.lists(LINES, max_size=4)).map(
    lambda h: h[0] + b"".join(h[1])
)
PAYLOADS = st.one_of(
    st.integers(0, 999).map(lambda number: order(number).model_dump_json().encode()),
    st.binary(max_size=200),
    st.sampled_from([b"", b"{}", b"null", b"@deep@", b"@blank@", b"@order@"]),
)  # fmt: skip

LONG = {
    b"@long@": b"x" * 65_000,
    b"@deep@": b"[" * 5_000,
    b"@blank@": b" " * 900_000,
    b"@order@": order(0, actor="a" * 900_000).model_dump_json().encode(),
}
"""What is too long to be printed when an example fails."""


def whole(part: bytes) -> bytes:
    for name, long in LONG.items():
        part = part.replace(name, long)
    return part


def some(count: int, *, the_same: bool) -> Any:
    """So many lists of messages; ``the_same`` ones in every run."""
    wanted = settings(
        max_examples=count,
        deadline=None,
        derandomize=the_same,
        phases=(Phase.generate,),  # shrinking would wait in vain for each smaller example
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    lists = st.lists(st.tuples(SUBJECTS, HEADERS, PAYLOADS), min_size=10, max_size=25)
    return lambda test: wanted(given(messages=lists)(test))  # type: ignore[no-any-return]


Message = tuple[bytes, bytes, bytes]


async def store(world: World, messages: list[Message]) -> int:
    """Store them, behind nothing else, and one that everybody can read; how many the server has taken."""
    for name in (STREAM, "DEADLETTERS"):
        await world.js.purge_stream(name)
    for message in messages:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the server does not accept it
            await world.publish(*map(whole, message))
    await world.emit(next(NUMBERS))
    return (await world.js.stream_info(STREAM)).state.messages


async def all_are_handled_or_dead(surface: str, world: World, messages: list[Message]) -> None:
    stored = await store(world, messages)
    handled: set[Any] = set()

    async def note(event: Event[Any]) -> None:
        handled.add(event.key)

    if (await world.js.stream_info(STREAM)).state.consumer_count:  # of the last example
        await world.js.delete_consumer(STREAM, "any")
    async with reading(world, surface, note, durable="any") as reader:
        assert await world.settled("any"), repr(reader.failure)
        others = stored - len(handled) - len(await world.letters("any"))
        for_one = sum(b"mts-only-durable" in head.lower() for _, head, _ in messages)  # maybe for another durable
        assert 0 <= others <= for_one, repr(reader.failure)
        before = len(handled)
        await world.emit(next(NUMBERS))
        assert await world.comes(lambda: len(handled) > before), repr(reader.failure)


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("surface", [*SURFACES, "raw"])
@some(15, the_same=True)
async def test_any_message_is_handled_or_a_dead_letter(surface: str, world: World, messages: list[Message]):
    await all_are_handled_or_dead(surface, world, messages)


@pytest.mark.chaos
@pytest.mark.parametrize("surface", [*SURFACES, "raw"])
@some(100, the_same=False)
async def test_any_message_at_all_is_handled_or_a_dead_letter(surface: str, world: World, messages: list[Message]):
    await all_are_handled_or_dead(surface, world, messages)


async def all_arrive(world: World, messages: list[Message]) -> None:
    """At who subscribes by himself: byte for byte, in order, and with headers that can be looked at."""
    subscription = await world.bus.subscribe("mts.v1.oms.orders.created.>")
    await world.bus.flush()
    sent: list[bytes] = []
    for subject, head, payload in messages:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await world.publish(subject, whole(head), whole(payload))
            sent += [whole(payload)] if b".fund." in subject else []
    async with asyncio.timeout(world.patience):
        heard = [await subscription.next_msg() for _ in sent]
    assert [message.data for message in heard] == sent
    for message in heard:
        message.headers.readable()
    await subscription.unsubscribe()


@some(15, the_same=True)
async def test_any_message_arrives_at_a_plain_subscription(world: World, messages: list[Message]):
    await all_arrive(world, messages)


@pytest.mark.chaos
@some(100, the_same=False)
async def test_any_message_at_all_arrives_at_a_plain_subscription(world: World, messages: list[Message]):
    await all_arrive(world, messages)
