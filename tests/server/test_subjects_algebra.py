"""The algebra of patterns against the server that has the last word: streams overlap, filters lie inside, or not."""

from itertools import combinations, product

from mts1b_foundation.subjects.algebra import contains, covers, matches, overlaps
from mts1b_platform.eventbus import EventBus
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import APIError, BadRequestError

PATTERNS = ["a", "a.b", "a.*", "*.b", "a.>", "*.*.c", "a.b.c", "a.*.c", "*.b.>", "b.>", "*.>"]


async def test_the_server_refuses_a_second_stream_exactly_when_the_patterns_overlap(bus: EventBus):
    js = bus.jetstream()
    for one, other in combinations(PATTERNS, 2):
        await js.add_stream(StreamConfig(name="ONE", subjects=[f"x.{one}"]))
        try:
            await js.add_stream(StreamConfig(name="OTHER", subjects=[f"x.{other}"]))
        except BadRequestError:
            refused = True
        else:
            refused = False
            await js.delete_stream("OTHER")
        await js.delete_stream("ONE")
        assert overlaps(one, other) == refused, (one, other)


async def test_the_server_delivers_exactly_what_matches(bus: EventBus):
    concrete = [".".join(tokens) for size in (1, 2, 3) for tokens in product("abc", repeat=size)]
    for pattern in PATTERNS:
        subscription = await bus.subscribe(f"x.{pattern}")
        for subject in concrete:
            await bus.publish(f"x.{subject}", b"")
        await bus.flush()  # the server has sent what matched before it answers this
        found: set[str] = set()
        while subscription.waiting:
            found.add((await subscription.next_msg(timeout=60)).subject.removeprefix("x."))
        await subscription.unsubscribe()
        assert found == {subject for subject in concrete if matches(pattern, subject)}, pattern


async def test_a_filter_that_the_algebra_puts_inside_a_stream_reads_from_it(bus: EventBus):
    js = bus.jetstream()
    await js.add_stream(StreamConfig(name="WIDE", subjects=["x.a.*", "x.a.*.c"]))
    for pattern in PATTERNS:
        inside = covers(["x.a.*", "x.a.*.c"], f"x.{pattern}")
        assert inside == any(contains(outer, f"x.{pattern}") for outer in ("x.a.*", "x.a.*.c"))
        try:
            await js.add_consumer("WIDE", ConsumerConfig(durable_name="reader", filter_subject=f"x.{pattern}"))
        except APIError:
            assert not inside, pattern
        else:
            await js.delete_consumer("WIDE", "reader")
