"""What goes wrong: each kind of fault, as it happens to a simulation."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mts1b_platform.eventbus.streams import STREAMS
from mts1b_platform.testing.simulation.server.stream import Stream

from simulation.evidence import STRANGER, order_of
from simulation.plan import Fault
from simulation.workloads.orders import order

if TYPE_CHECKING:
    from simulation.run import Run

ORDERS: Final = "OMS_ORDERS"
_ERRORS: Final = (
    ("Maximum Payload Violation", True),
    ("maximum subscriptions exceeded", False),
    ("", True),  # a slow consumer is cut off without a word
    ("Stale Connection", True),
    ("maximum connections exceeded", True),
)
_ODD: Final = ("k0", "a\x0bb", "\x0c", "a\x1cb", "a\x85b", "\x01", "a%b", "\xe9")
"""Funds as they may stand in a subject."""
_ENVELOPE: Final = (
    b"content-type: application/json\r\nmts-source-repo: mts1b-oms\r\nmts-schema: mts1b_foundation.orders.Order:v1\r\n"
    b"mts-actor: a\r\n"
)
_HEADS: Final = (
    _ENVELOPE + b"Nats-Msg-Id: i%d\r\n",
    _ENVELOPE + b"Nats-Msg-Id: i%d\r\nNats-Msg-Id: j%d\r\n",
    _ENVELOPE + b"mts-trace-id: \xff\xfe\r\n",
    _ENVELOPE + b"MTS-Schema: another:v1\r\n",
    _ENVELOPE + b"no colon\r\n",
    _ENVELOPE + b"mts-only-durable: \xff\r\n",
    b"",
)
"""Header blocks; %d stands for the order."""


def inject(run: "Run", fault: Fault) -> None:
    """Have ``fault`` happen now."""
    if _KINDS[fault.kind](run, fault):
        run.world.injected[fault.kind] += 1
        run.world.note("fault", fault.kind, fault.who)


def create_stream(run: "Run", name: str) -> None:
    """Have the server make one of the bus's streams."""
    definition = next(each for each in STREAMS if each.name == name)
    run.server.streams[name] = Stream(run.server, definition.render("minimal"), run.server.wall_ns())


def _stored_after(run: "Run", seq: int) -> set[int]:
    """Orders that are on the stream behind ``seq``; acked or not: an ack may be on its way."""
    messages = run.server.streams[ORDERS].messages.values()
    return {order_of(message.data) for message in messages if message.seq > seq}


# The network.


def _cut(run: "Run", fault: Fault) -> bool:
    sockets = run.sockets(fault.who)
    for socket in sockets:
        socket.cut(fault.x, fault.x * 7 % 1)
    return bool(sockets)


def _half(run: "Run", fault: Fault) -> bool:
    sockets = run.sockets(fault.who)
    for socket in sockets:
        socket.half_open()
    return bool(sockets)


def _lag(run: "Run", fault: Fault) -> bool:
    """Latency up to half a second, for a while."""
    sockets = run.sockets(fault.who)
    for socket in sockets:
        for pipe in (socket.up, socket.down):
            usual, pipe.latency = pipe.latency, (0.01, 0.02 + fault.x / 2)
            run.world.at(run.world.now + 4 * fault.x, setattr, pipe, "latency", usual)
    return bool(sockets)


def _narrow(run: "Run", fault: Fault) -> bool:
    """A window of a few bytes, for a while: everything that is written waits."""
    sockets = run.sockets(fault.who)
    for socket in sockets:
        for pipe in (socket.up, socket.down):
            usual, pipe.window = pipe.window, 64 + int(fault.x * 2000)
            run.world.at(run.world.now + 4 * fault.x, setattr, pipe, "window", usual)
    return bool(sockets)


def _err(run: "Run", fault: Fault) -> bool:
    words, close = _ERRORS[int(fault.x * (len(_ERRORS) - 1e-9))]
    sockets = run.sockets(fault.who)
    mine = [session for session in run.server.sessions if session.socket in sockets]
    for session in mine:
        session.refuse(words, close=close)
    return bool(mine)


# The server.


def _kill_server(run: "Run", fault: Fault) -> bool:
    """It comes back with everything stored, and mostly with consumers as they were a moment ago."""
    server = run.server
    if not server.up:
        return False
    disk = server.snapshot(as_written=fault.x > 0.3)
    server.kill(keep=fault.x)
    run.world.at(run.world.now + 0.2 + 3 * fault.x, server.start, disk)
    return True


def _freeze_server(run: "Run", fault: Fault) -> bool:
    if not run.server.up:
        return False
    run.server.freeze(0.2 + 6 * fault.x)
    return True


def _leader(run: "Run", fault: Fault) -> bool:
    run.server.lose_leadership()
    run.world.at(run.world.now + 0.1 + 3 * fault.x, run.server.gain_leadership)
    return True


def _rollback(run: "Run", fault: Fault) -> bool:
    """A snapshot is restored: the stream goes back to what it was at half the time."""
    server, disk = run.server, run.backup
    if not server.up or disk is None:
        return False
    server.kill(keep=fault.x)
    run.record.era += 1
    run.record.excused |= _stored_after(run, disk[ORDERS].last)
    run.world.at(run.world.now + 1 + fault.x, server.start, disk)
    return True


def _recreate(run: "Run", fault: Fault) -> bool:
    """Somebody deletes the stream and makes it again, empty."""
    if not run.server.up or ORDERS not in run.server.streams:
        return False
    run.record.era += 1
    run.record.excused |= _stored_after(run, 0)
    run.server.delete_stream(ORDERS)

    def again() -> None:
        if not run.server.up:
            run.world.at(run.world.now + 0.1, again)
        elif ORDERS not in run.server.streams:
            create_stream(run, ORDERS)

    run.world.at(run.world.now + 2 * fault.x, again)
    return True


def _full(run: "Run", fault: Fault) -> bool:
    """The stream takes no more, for a while."""
    stream = run.server.streams.get(ORDERS)
    if stream is None:
        return False
    stream.most = len(stream.messages)
    run.world.at(run.world.now + 4 * fault.x, setattr, stream, "most", None)
    return True


def _bytes(run: "Run", fault: Fault) -> bool:
    """Somebody stores an order as only a server would take it: odd bytes in its subject, odd headers."""
    if not run.server.up or not run.server.leads:
        return False
    number = STRANGER + run.world.injected["bytes"]
    odd = _ODD[int(fault.x * len(_ODD))]
    head = _HEADS[int(fault.x * 7 % 1 * len(_HEADS))]
    block = b"NATS/1.0\r\n" + head.replace(b"%d", b"%d" % number) + b"\r\n" if head else b""
    run.server.publish(
        f"mts.v1.oms.orders.created.fund.{odd}", "", block, order(number, "k0").model_dump_json().encode()
    )
    return True


# Processes.


def _kill(run: "Run", fault: Fault) -> bool:
    process = run.process(fault.who)
    if process is None:
        return False
    for reader in run.record.readers.values():
        reader.killed(process.name)
    process.kill()
    run.start_again(fault.who, run.world.now + 3 * fault.x)
    return True


def _graceful(run: "Run", fault: Fault) -> bool:
    return run.stop(fault.who)


def _freeze(run: "Run", fault: Fault) -> bool:
    process = run.process(fault.who)
    if process is None:
        return False
    process.freeze(0.5 + 10 * fault.x)
    return True


def _wall(run: "Run", fault: Fault) -> bool:
    """The wall clock of all machines jumps, up to an hour in either direction."""
    run.world.wall_offset += (fault.x - 0.5) * 7200
    return True


_KINDS: Final[dict[str, Callable[["Run", Fault], bool]]] = {
    "cut": _cut,
    "half": _half,
    "lag": _lag,
    "narrow": _narrow,
    "err": _err,
    "kill_server": _kill_server,
    "freeze_server": _freeze_server,
    "leader": _leader,
    "rollback": _rollback,
    "recreate": _recreate,
    "full": _full,
    "bytes": _bytes,
    "kill": _kill,
    "graceful": _graceful,
    "freeze": _freeze,
    "wall": _wall,
}
