"""What JetStream answers to a publish, in bytes: stored, stored before, or not stored and why. Sans-io."""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.eventbus.protocol.message import WireMsg


class PublishFailed(Mts1bError):
    """A publish was not acknowledged."""


class PublishRefused(PublishFailed):
    """JetStream answered that it did not store the message.

    Attributes:
        code: HTTP-like class of the error.
        err_code: JetStream's own number of it.
        description: the server's words.
    """

    def __init__(self, subject: str, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{subject}: JetStream did not store the message: {description} (error {err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


class NoStreamResponse(PublishFailed):
    """Nobody stores this subject right now: no stream, or none with a leader."""


class AckTimeout(PublishFailed, TimeoutError):
    """No ack came in time; the message may have been stored or not."""


class AckLost(PublishFailed, ConnectionError):
    """The connection broke before the ack; the message may have been stored or not."""


class PubAck(NamedTuple):
    """JetStream's word that a message is stored."""

    stream: str
    seq: int
    duplicate: bool = False
    """A message with the same id was stored before, as ``seq``; this one was not stored again."""
    batch_id: str = ""
    batch_size: int = 0


_MAKE_ACK: Final = cast(
    "Callable[[type[PubAck], tuple[str, int, bool, str, int]], PubAck]",
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType] - its stub is generic in a way a cast cannot name
)


class AckReader:
    """Reads answers; those that begin like one before take a comparison, or a look."""

    def __init__(self) -> None:
        self._begin = b"\0"
        self._streams: dict[bytes, str] = {}
        """By how their plain acks begin."""
        self.stream = ""
        """The stream of the last plain ack."""

    @property
    def begin(self) -> bytes:
        """How a plain ack in :attr:`stream` begins, up to its sequence."""
        return self._begin

    def seq(self, payload: bytes) -> int:
        """The sequence in :attr:`stream` that ``payload`` acknowledges; 0 when only :meth:`read` understands it."""
        # {"stream":"OMS_ORDERS","seq":17}: everything before the number is the same for a stream.
        cut = len(self._begin)
        number = payload[cut:-1]
        return int(number) if payload[:cut] == self._begin and number.isdigit() else 0

    def read(self, head: bytes, payload: bytes) -> PubAck:
        """The ack in ``payload``.

        Raises:
            PublishRefused: JetStream says that it did not store the message, or the answer is none of its own.
            NoStreamResponse: nobody stores the subject.
        """
        if seq := self.seq(payload):
            return _MAKE_ACK(PubAck, (self.stream, seq, False, "", 0))
        begin = payload[: payload.rfind(b":") + 1]
        if (stream := self._streams.get(begin)) is not None:
            self._begin, self.stream = begin, stream
            if seq := self.seq(payload):
                return _MAKE_ACK(PubAck, (stream, seq, False, "", 0))
        return self._read_with_care(head, payload)

    def _read_with_care(self, head: bytes, payload: bytes) -> PubAck:
        """The first ack of a stream after that of another, a duplicate, a refusal."""
        if WireMsg(b"", b"", head, b"").is_status:
            raise NoStreamResponse("no stream stores the subject, or none with a leader right now")
        if not payload:
            return PubAck("", 0)  # the first message of an atomic batch has arrived
        try:
            document: dict[str, Any] = json.loads(payload)
            if (error := document.get("error")) is not None:
                words = str(error.get("description", "no reason given"))
                raise PublishRefused("publish", int(error.get("code", 0)), int(error.get("err_code", 0)), words)
            ack = PubAck(
                stream=str(document["stream"]),
                seq=int(document["seq"]),
                duplicate=bool(document.get("duplicate")),
                batch_id=str(document.get("batch", "")),
                batch_size=int(document.get("count", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PublishRefused("publish", 0, 0, f"an answer that is no ack: {payload[:120]!r}") from error
        end = b"%d}" % ack.seq
        if payload.endswith(b'"seq":' + end) and not ack.duplicate and not ack.batch_id:
            self._begin, self.stream = payload[: -len(end)], ack.stream
            self._streams[self._begin] = ack.stream
        return ack
