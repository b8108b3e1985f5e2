"""The buffer of what goes out: order, limits, what leaves it when the connection breaks."""

import asyncio
import threading
from typing import Any

import pytest
from mts1b_platform.eventbus.connection.outbound import Outbound
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.errors import BusClosed, OutboundBufferFull, PayloadTooLarge, WrongEventLoop
from mts1b_platform.eventbus.protocol.acks import ACK_FRAME
from mts1b_platform.eventbus.protocol.frames import hpub_frame, pub_frame


class Wire:
    """A transport that keeps what was written, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None: ...

    def abort(self) -> None: ...

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)


class Bench:
    """An outbound buffer with a wire."""

    def __init__(self, limit: int = 1000, high_water: int = 500, max_payload: int = 400) -> None:
        self.errors: list[Exception] = []
        self.stats = Stats()
        self.out = Outbound(limit=limit, high_water=high_water, stats=self.stats, report=self.errors.append)
        self.wire = Wire()
        self.out.open(self.wire, max_payload, b"")

    def again(self, max_payload: int = 400, greeting: bytes = b"SUB a 1\r\n") -> Wire:
        """Stand on another wire."""
        self.wire = Wire()
        self.out.open(self.wire, max_payload, greeting)
        return self.wire


def frame(name: bytes, size: int = 1) -> bytes:
    return pub_frame(name, b"x" * size)


async def turn() -> None:
    await asyncio.sleep(0)


async def test_what_is_sent_in_one_turn_goes_out_in_one_write_in_order():
    bench = Bench()
    out = bench.out
    out.send(frame(b"a"))
    assert out.send_volatile(frame(b"b"))
    out.control(b"PING\r\n")
    out.send_many([frame(b"c"), frame(b"d")])
    assert out.ack(b"r") is False
    assert bench.wire.writes == []
    await turn()
    expected = frame(b"a") + frame(b"b") + b"PING\r\n" + frame(b"c") + frame(b"d") + ACK_FRAME % b"r"
    assert bench.wire.writes == [expected]
    assert (bench.stats.out_msgs, bench.stats.out_bytes) == (5, len(expected))
    assert out.waiting == 0


async def test_flush_out_writes_now():
    bench = Bench()
    bench.out.send(frame(b"a"))
    bench.out.flush_out()
    assert bench.wire.writes == [frame(b"a")]
    await turn()
    assert bench.wire.writes == [frame(b"a")]


async def test_at_a_break_control_lines_and_volatile_frames_leave_and_the_rest_stays_in_order():
    bench = Bench()
    out = bench.out
    out.pause(paused=True)
    out.send(frame(b"a"))
    out.control(b"SUB x 1\r\n")
    out.send_volatile(frame(b"b"))
    out.send_volatile(frame(b"b"))
    out.ack(b"r")
    out.control(b"PING\r\n")
    out.send_volatile(frame(b"c"))
    out.send_many([frame(b"d"), frame(b"PI.x")])
    await turn()
    assert bench.wire.writes == []
    out.broke()
    assert out.dropped == 3
    kept = [frame(b"a"), ACK_FRAME % b"r", frame(b"d"), frame(b"PI.x")]
    assert out.frames == kept
    assert out.waiting == len(b"".join(kept))
    out.send(frame(b"e"))
    assert out.send_volatile(frame(b"f")) is False
    assert out.dropped == 4
    out.control(b"PING\r\n")
    assert bench.again().written == b"SUB a 1\r\n" + b"".join(kept) + frame(b"e")
    assert bench.stats.out_msgs == 5


async def test_a_second_break_drops_what_became_volatile_since():
    bench = Bench()
    bench.out.broke()
    bench.out.send(frame(b"a"))
    bench.again()
    bench.out.pause(paused=True)
    bench.out.send_volatile(frame(b"b"))
    bench.out.send(frame(b"c"))
    bench.out.broke()
    assert bench.out.frames == [frame(b"c")]
    assert bench.out.dropped == 1


async def test_the_buffer_is_bounded():
    bench = Bench(limit=200)
    out = bench.out
    out.broke()
    big = frame(b"a", 150)
    out.send(big)
    for call in (lambda: out.send(big), lambda: out.send_many([big, big])):
        with pytest.raises(OutboundBufferFull, match=r"away.*writable"):
            call()
    assert out.frames == [big], "all or none"
    wire = bench.again()
    out.pause(paused=True)
    out.send(big)
    assert out.send_volatile(big) is False
    assert out.dropped == 1
    with pytest.raises(OutboundBufferFull, match="as fast"):
        out.send(big)
    out.pause(paused=False)
    assert wire.written.endswith(big + big)


async def test_one_frame_larger_than_the_buffer_goes_out():
    bench = Bench(limit=10)
    bench.out.send(frame(b"a", 300))
    await turn()
    assert bench.wire.written == frame(b"a", 300)


async def test_a_message_that_the_server_does_not_take_is_refused():
    bench = Bench(max_payload=50)
    too_large = hpub_frame(b"a.b", b"NATS/1.0\r\n\r\n", b"x" * 39)
    calls: list[Any] = [
        lambda: bench.out.send(too_large),
        lambda: bench.out.send_many([frame(b"a"), too_large]),
        lambda: bench.out.send_volatile(too_large),
    ]
    for call in calls:
        with pytest.raises(PayloadTooLarge, match=r"a\.b: 51 bytes .* takes 50"):
            call()
    assert bench.out.frames == []
    bench.out.send(hpub_frame(b"a.b", b"NATS/1.0\r\n\r\n", b"x" * 38))
    assert len(bench.out.frames) == 1


@pytest.mark.parametrize("standing", [True, False])
async def test_what_waits_and_is_too_large_for_a_lowered_limit_is_dropped_with_an_error(standing: bool):
    bench = Bench()
    out = bench.out
    out.pause(paused=True)
    out.send(frame(b"small", 50))
    out.send(frame(b"large", 51))
    out.send_volatile(frame(b"stale", 60))
    out.send(frame(b"last", 1))
    if standing:
        out.limit_payload(50)
        out.pause(paused=False)
        wire = bench.wire
    else:
        out.broke()
        wire = bench.again(max_payload=50, greeting=b"")
    assert wire.written == frame(b"small", 50) + frame(b"last", 1)
    assert [str(error).split(":")[0] for error in bench.errors] == (["large", "stale"] if standing else ["large"])
    assert all(isinstance(error, PayloadTooLarge) for error in bench.errors)


async def test_ack_says_when_it_is_time_to_wait():
    bench = Bench(high_water=40)
    assert [bench.out.ack(b"r%d" % n) for n in range(3)] == [False, False, True]
    assert bench.out.waiting > bench.out.high_water
    await bench.out.writable()
    assert bench.out.waiting <= bench.out.high_water


async def test_acks_keep_to_the_limits_too():
    bench = Bench(limit=50, high_water=40)
    bench.out.broke()
    bench.out.ack(b"r")
    bench.out.ack(b"r")
    bench.out.ack(b"r")
    with pytest.raises(OutboundBufferFull):
        bench.out.ack(b"r")
    assert bench.again().written.count(b"+ACK") == 3


async def test_writable_writes_and_gives_up_a_turn():
    bench = Bench()
    bench.out.send(frame(b"a"))
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "another")
    await bench.out.writable()
    assert turns == ["another"]
    assert bench.wire.writes == [frame(b"a")]


async def test_writable_waits_for_room_and_for_a_connection():
    bench = Bench(high_water=20)
    bench.out.pause(paused=True)
    bench.out.send(frame(b"a", 50))
    waiting = asyncio.create_task(bench.out.writable())
    for _ in range(5):
        await turn()
    assert not waiting.done()
    bench.out.broke()
    for _ in range(5):
        await turn()
    assert not waiting.done()
    bench.again()
    await waiting
    assert bench.out.waiting == 0


async def test_writable_waits_until_the_transport_takes_more():
    bench = Bench(high_water=20)
    bench.out.pause(paused=True)
    bench.out.send(frame(b"a", 50))
    waiting = asyncio.create_task(bench.out.writable())
    for _ in range(5):
        await turn()
    assert not waiting.done()
    bench.out.pause(paused=False)
    await turn()
    await turn()
    assert waiting.done()


async def test_writable_that_is_called_off_leaves_nothing():
    bench = Bench(high_water=1)
    bench.out.pause(paused=True)
    bench.out.send(frame(b"a", 50))
    waiting = asyncio.create_task(bench.out.writable())
    await turn()
    await turn()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    bench.out.pause(paused=False)
    await bench.out.writable()


async def test_closing_tells_those_that_wait():
    bench = Bench()
    bench.out.broke()
    bench.out.send(frame(b"a"))
    waiting = asyncio.create_task(bench.out.writable())
    await turn()
    await turn()
    assert bench.out.close(BusClosed("over")) == 1
    with pytest.raises(BusClosed, match="over"):
        await waiting
    with pytest.raises(BusClosed, match="over"):
        bench.out.send(frame(b"a"))


async def test_what_comes_after_the_last_line_is_held_back():
    bench = Bench()
    bench.out.pause(paused=True)
    bench.out.send(frame(b"a"))
    bench.out.write_last(b"PING\r\n")
    bench.out.send(frame(b"b"))
    await turn()
    assert bench.wire.written == frame(b"a") + b"PING\r\n"
    bench.out.broke()
    assert bench.again(greeting=b"").written == frame(b"b")


# Where it may be used from.


def in_thread(call: Any) -> list[BaseException]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


@pytest.mark.parametrize("standing", [True, False])
async def test_another_thread_is_told(standing: bool):
    bench = Bench()
    if not standing:
        bench.out.broke()
    for call in (
        lambda: bench.out.send(frame(b"a")),
        lambda: bench.out.ack(b"r"),
        lambda: bench.out.send_volatile(b""),
    ):
        (error,) = in_thread(call)
        assert isinstance(error, WrongEventLoop)
        assert "call_soon_threadsafe" in str(error)
    assert bench.out.frames == []
    bench.out.send(frame(b"a"))


async def test_another_event_loop_is_told():
    bench = Bench()

    async def use() -> None:
        bench.out.send(frame(b"a"))

    (error,) = in_thread(lambda: asyncio.run(use()))
    assert isinstance(error, WrongEventLoop)
    (error,) = in_thread(lambda: asyncio.run(bench.out.writable()))
    assert isinstance(error, WrongEventLoop)
