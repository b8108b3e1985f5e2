"""What hooks are told of consumed events in the compiled core: the same times, in the same order, as in pure Python."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_ACCEPTED, OMS_ORDERS_CREATED, DurableSubject
from mts1b_platform.eventbus.core import CORE, Core
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.hooks import Chain, deciding
from mts1b_platform.eventbus.protocol.position import NotJetStream
from mts1b_platform.observability.metrics import Timings

pytestmark = pytest.mark.skipif(CORE is None, reason="of the compiled core")

NOW = 1_610_107_200.25
REPLY = "$JS.ACK.S.c.1.7.7.%s.0"


@pytest.fixture
def core() -> Core:
    assert CORE is not None
    return CORE


def pure() -> Timings:
    timings = Timings()
    del timings.settled
    return timings


def event(reply: bytes, received_at: float, subject: DurableSubject[Any] = OMS_ORDERS_CREATED) -> Event[Any]:
    settler: Any = None
    made = Event(subject, "a", (b"a", reply, b"", b""), ORDER, settler)
    made.received_at = received_at
    return made


def observed(timings: Timings) -> Any:
    return [
        {pattern: (histogram.counts, histogram.total) for pattern, histogram in histograms.items()}
        for histograms in (timings.latency, timings.handler)
    ]


MOMENTS = st.one_of(
    st.floats(NOW - 90, NOW + 1), st.sampled_from([NOW, NOW - 0.0005, NOW - 60.0, 0.0]), st.floats(0, 1e10)
)
STORED = st.one_of(
    st.floats(NOW - 90, NOW + 1).map(lambda at: str(int(at * 1e9))),
    st.sampled_from(["161010720", "9" * 19, "0", "1610107200250000000"]),
)
SUBJECTS = st.sampled_from([OMS_ORDERS_CREATED, OMS_ORDERS_ACCEPTED])


@example([("1610107100000000000", at, OMS_ORDERS_CREATED) for at in (NOW - 1, NOW - 60.0, NOW - 0.0005, NOW)])
@given(st.lists(st.tuples(STORED, MOMENTS, SUBJECTS), max_size=12))
def test_times_are_those_of_the_pure_way_to_the_last_bit(events: list[tuple[str, float, DurableSubject[Any]]]):
    ours, theirs = Timings(), pure()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: NOW)
        for stored, received_at, subject in events:
            for timings in (ours, theirs):
                timings.settled(event((REPLY % stored).encode(), received_at, subject))
    assert observed(ours) == observed(theirs)


def test_times_are_those_of_the_clock_that_everybody_reads():
    timings = Timings()
    stored = REPLY % (time.time_ns() - 2_000_000_000)
    for _ in range(3):
        timings.settled(event(stored.encode(), time.time() - 1.0))
    pattern = OMS_ORDERS_CREATED.pattern
    assert 2.9 < timings.latency[pattern].total < 3.3
    assert 2.9 < timings.handler[pattern].total < 60.0


def test_a_reply_that_is_none_of_jetstream_is_the_same_error():
    timings = Timings()
    for _ in range(2):
        with pytest.raises(NotJetStream, match="is not that of a JetStream delivery"):
            timings.settled(event(b"_INBOX.1", NOW))


class Owner:
    """What a buffer asks."""

    def _schedule(self) -> None:
        pass


def acker(core: Core, hooks: Any, failed: list[BaseException]) -> Any:
    def hook_failed(_: Event[Any], error: BaseException) -> None:
        failed.append(error)

    settler = SimpleNamespace(prefetch=None, _suspect=None, stopping=False, _hook_failed=hook_failed)
    client, buffer = SimpleNamespace(hooks=hooks), core.OutBuffer(Owner(), 1_000, 1_000, 1_000)
    buffer.up = buffer.scheduled = True
    acked: list[bytes] = []
    return core.Acker(settler, client, buffer, acked.append, {}, BusError, deciding)


def test_each_hook_of_a_chain_is_told_in_its_order_up_to_one_that_fails(core: Core):
    told: list[str] = []

    class Hook(Timings):
        def __init__(self, name: str, error: BaseException | None = None) -> None:
            super().__init__()
            self.settled = self.tell  # pyright: ignore[reportAttributeAccessIssue]
            self.name, self.error = name, error

        def tell(self, _: Event[Any], /) -> None:
            told.append(self.name)
            if self.error is not None:
                raise self.error

    timings, failed = Timings(), list[BaseException]()
    acknowledge = acker(core, Chain([Hook("a"), timings, Hook("b", LookupError("of b")), Hook("c")]), failed).acked
    reply = (REPLY % "1610107200250000000").encode()
    for number in range(1, 3):
        acknowledge(event(reply, NOW + 1))
        assert told == ["a", "b"] * number
        assert [str(error) for error in failed] == ["of b"] * number
        assert sum(timings.latency[OMS_ORDERS_CREATED.pattern].counts) == number
    with pytest.raises(KeyboardInterrupt):
        acker(core, Hook("a", KeyboardInterrupt()), failed).acked(event(reply, NOW + 1))
