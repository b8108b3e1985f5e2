"""The self-test of the seam, on a nats-py client without a connection; companion of ``seam.py``.

It sends and receives through every private part that the seam uses, and compares bytes. A nats-py that differs is
found here, before a single message depends on it.
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# reason: it rehearses what the seam does with nats-py's private parts.

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import Parser as NatsParser

from mts1b_platform.eventbus.lane import SeamUnavailable
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

if TYPE_CHECKING:
    from mts1b_platform.eventbus.seam import Seam

WRITTEN_FOR: Final = "2.16."
TIMEOUT: Final = 2.0
"""Seconds that the rehearsal may take; it needs a thousandth of it."""
_HEAD: Final = b"NATS/1.0\r\nA: b\r\n\r\n"


class _Recorder:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def writelines(self, payload: list[bytes]) -> None:
        self.written += b"".join(payload)

    def write(self, payload: bytes) -> None:
        self.written += payload

    async def drain(self) -> None:
        """Nothing to wait for."""


async def rehearse(seam_class: "type[Seam]", client: Client) -> None:
    """Go through sending and receiving once.

    Raises:
        SeamUnavailable: nats-py is another version, behaves differently, or its parser was replaced already.
    """
    installed = version("nats-py")
    if not installed.startswith(WRITTEN_FOR):
        raise SeamUnavailable(f"nats-py {installed} is installed, the fast lane is written for {WRITTEN_FOR}x")
    if type(client._ps) is not NatsParser:
        raise SeamUnavailable(f"the connection's parser is a {type(client._ps).__name__}, not nats-py's own")
    try:
        async with asyncio.timeout(TIMEOUT):
            await _play(seam_class)
    except Exception as error:
        raise SeamUnavailable(
            f"nats-py {installed} behaves differently than the fast lane expects: {type(error).__name__}: {error}"
        ) from error


async def _play(seam_class: "type[Seam]") -> None:
    client, recorder = Client(), _Recorder()
    client._transport = cast("Any", recorder)
    client._flush_queue = asyncio.Queue()
    client._flush_timeout = None
    client._error_cb = _fail
    client._status = Client.CONNECTED
    seam = seam_class(client)
    seam.install()
    flusher = client._flusher_task = asyncio.create_task(client._flusher())
    try:
        received: list[RawMsg] = []
        await seam.subscribe_batches("a.*", queue="q", callback=received.extend)
        plain = await client.subscribe("b")
        seam.send(pub_frame(b"a.b", b"1"), 1)
        seam.send_now(pub_frame(b"a.c", b"2"), 1)
        await client._flush_pending(force_flush=True)
        subscribed = b"SUB a.* q 1\r\nSUB b  2\r\n"
        _expect("what is written", recorder.written, subscribed + b"PUB a.b 1\r\n1\r\nPUB a.c 1\r\n2\r\n")
        _expect("what waits", client._pending_data_size, 0)

        seam.send(pub_frame(b"a.d"), 0)
        await client._send_ping(asyncio.get_running_loop().create_future())
        _expect("a PING after what waits", recorder.written[-19:], b"PUB a.d 0\r\n\r\nPING\r\n")
        client._pongs.clear()

        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        client._pongs.append(pong)
        stream = b"MSG a.b 1 1\r\n1\r\nHMSG b 2 r %d %d\r\n%b2\r\nPONG\r\nPING\r\n" % (
            len(_HEAD),
            len(_HEAD) + 1,
            _HEAD,
        )
        for at in (7, 30, len(stream)):
            await client._ps.parse(stream[:at])
            stream = stream[at:]
        _expect("a batch", received, [WireMsg(b"a.b", b"", b"", b"1")])
        msg = plain._pending_queue.get_nowait()
        _expect("a message of nats-py's", _facts(msg), ("b", "r", b"2", {"A": "b"}))
        _expect("a PONG", [pong.done()], [True])
        await client._flush_pending(force_flush=True)
        _expect("the answer to a PING", recorder.written[-6:], b"PONG\r\n")
        counted = [client.stats[name] for name in ("in_msgs", "in_bytes", "out_msgs", "out_bytes")]
        _expect("statistics", counted, [2, 2, 3, 2])
    finally:
        flusher.cancel()
        await asyncio.gather(flusher, return_exceptions=True)


async def _fail(error: Exception) -> None:
    raise error


def _facts(msg: Msg) -> tuple[str, str, bytes, dict[str, str] | None]:
    return msg.subject, msg.reply, msg.data, msg.headers


def _expect(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise SeamUnavailable(f"{what} is {got!r}, expected {expected!r}")
