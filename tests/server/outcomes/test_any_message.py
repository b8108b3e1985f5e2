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
         b"Nats-Expected-Stream", b"Content-Type", b"Nats-Batch-Id", b"Mts-Idempotency-Key", b"mts-source-repo"]
    ),
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").replace(b":", b"")),
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([b"mts1b_foundation.orders.Order:v1", b"mts1b_foundation.orders.Order:v99", b"", b"  ", b"\xff"]),
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


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("surface", SURFACES)
@given(messages=st.lists(st.tuples(SUBJECTS, HEADERS, PAYLOADS), min_size=10, max_size=25))
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),  # shrinking would wait in vain for each smaller example
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_any_message_is_handled_or_a_dead_letter(
    surface: str, world: World, messages: list[tuple[bytes, bytes, bytes]]
):
    for message in messages:
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the server does not accept it
            await world.publish(*map(whole, message))
    await world.emit(next(NUMBERS))
    handled: set[Any] = set()

    async def note(event: Event[Any]) -> None:
        handled.add(event.key)

    if (await world.js.stream_info(STREAM)).state.consumer_count:  # of the last example
        await world.js.delete_consumer(STREAM, "any")
    async with reading(world, surface, note, durable="any") as reader:
        assert await world.settled("any"), repr(reader.failure)
        delivered = (await world.js.consumer_info(STREAM, "any")).delivered
        stored = delivered.stream_seq if delivered is not None else 0
        letters = {(letter.sequence, letter.stored_at) for letter in await world.letters("any")}
        assert len(handled) + len(letters) >= stored
        before = len(handled)
        await world.emit(next(NUMBERS))
        assert await world.comes(lambda: len(handled) > before), repr(reader.failure)
