"""One stored message as it was read back: where it lies, when it was stored, its bytes as they were published."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

_STREAM: Final = b"\r\nNats-Stream: "
"""The first of the lines that a stream puts behind the headers of what it is asked for."""
_AS_EVER: Final = re.compile(
    rb"\r\nNats-Stream: ([^\r\n]+)\r\nNats-Subject: ([^\r\n]+)\r\nNats-Sequence: (\d+)\r\n"
    rb"Nats-Time-Stamp: ([^\r\n]+)\r\n(?:Nats-Num-Pending: \d+\r\nNats-Last-Sequence: \d+\r\n)?\r\n"
)
"""Those lines as servers write them today, read in half the time."""
_ALONE: Final = len(b"NATS/1.0")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NANO: Final = 1_000_000_000


Worth = Callable[[bytes, bytes], bool]
"""Whether a message is worth reading, by its headers, in which its subject occurs as well, and its payload."""


class Recorded(NamedTuple):
    """One message as a stream holds it."""

    stream: str
    seq: int
    stamp: str
    """When the stream stored it, as the server writes it: RFC 3339 in UTC, to the nanosecond."""
    wire: WireMsg
    """Subject, headers and payload as they were published, without what the stream adds to an answer."""

    @property
    def time(self) -> datetime:
        """When the stream stored it, UTC; microseconds, rounded down."""
        return datetime.fromisoformat(self.stamp)

    @property
    def time_ns(self) -> int:
        """When the stream stored it, in nanoseconds since 1970."""
        return nanoseconds_of(self.stamp)


def nanoseconds_of(stamp: str) -> int:
    """A moment that the server wrote, in nanoseconds since 1970."""
    whole, _, rest = stamp.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(f"{whole}+00:00")
    return int((moment - _EPOCH).total_seconds()) * _NANO + int((rest or "0").ljust(9, "0")[:9])


def stamp_of(time_ns: int) -> str:
    """Nanoseconds since 1970 as the server writes and reads moments."""
    seconds, rest = divmod(time_ns, _NANO)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def nanoseconds(moment: datetime) -> int:
    """A moment in nanoseconds since 1970, exact."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * _NANO + since.microseconds * 1_000


def read_answer(msg: RawMsg) -> Recorded:
    """The message in a stream's answer to a direct get.

    The stream writes its own lines last, so that a header of the same name in what was published misleads nobody.

    Raises:
        ValueError: it is no such answer.
    """
    head = msg[2]
    at = head.rfind(_STREAM)
    if (found := _AS_EVER.fullmatch(head, max(0, at))) is not None:
        published = b"" if at == _ALONE else head[: at + 2] + b"\r\n"
        wire = WireMsg(found[2], b"", published, msg[3])
        return Recorded(found[1].decode(), int(found[3]), found[4].decode(), wire)
    lines = head[at + 2 : -4].split(b"\r\n") if at >= 0 else ()
    says = {name: value.decode() for name, _, value in (line.partition(b": ") for line in lines)}
    try:
        subject, seq, stamp = says[b"Nats-Subject"], int(says[b"Nats-Sequence"]), says[b"Nats-Time-Stamp"]
        published = b"" if at == _ALONE else head[: at + 2] + b"\r\n"
        return Recorded(says[b"Nats-Stream"], seq, stamp, WireMsg(subject.encode(), b"", published, msg[3]))
    except KeyError as error:
        raise ValueError(f"an answer of a stream has no {error.args[0].decode()}: {head[-300:]!r}") from None
