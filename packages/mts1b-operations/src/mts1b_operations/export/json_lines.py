"""JSON lines: one event a line, of any subjects, with the payload's own bytes; a recording that can be replayed."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.headers import HeaderError, header_block
from mts1b_platform.eventbus.protocol.message import WireMsg
from pydantic_core import from_json

from mts1b_operations.history.seen import Decoders

_FIRST: Final = b"NATS/1.0\r\n"
_PAYLOAD: Final = b', "payload": '
_REFUSAL: Final = b', "payload_base64": '


class RecordingError(Mts1bError):
    """A line of a recording is none."""


class JsonLinesFile:
    """Events as JSON lines, complete when the block ends well.

    Args:
        path: where they are written.
        decoders: what may be seen of them.
    """

    refused = 0

    def __init__(self, path: Path, decoders: Decoders) -> None:
        self._path = path
        self._shown = decoders.shown

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, batch: Sequence[Recorded]) -> None:
        """Take the next events."""
        self._file.write(b"".join([line_of(self._shown(recorded)) for recorded in batch]))


def line_of(recorded: Recorded) -> bytes:
    """An event as a line. Its payload stands there byte by byte, or in base64 when it is no JSON of one line."""
    wire = recorded.wire
    headers = _headers(wire.head)
    document: dict[str, Any] = {
        "stream": recorded.stream,
        "seq": recorded.seq,
        "time": recorded.stamp,
        "subject": wire.subject.decode(errors="surrogateescape"),
    }
    document |= {"head_base64": base64.b64encode(wire.head).decode()} if headers is None else {"headers": headers}
    start = json.dumps(document)[:-1].encode()
    payload = wire.payload
    if _one_line(payload):
        return b"%b%b%b}\n" % (start, _PAYLOAD, payload)
    return b'%b%b"%b"}\n' % (start, _REFUSAL, base64.b64encode(payload))


def recorded_of(line: bytes) -> Recorded:
    """The event in a line of a recording, byte by byte what was recorded.

    Raises:
        RecordingError: the line is none.
    """
    try:
        document: dict[str, Any] = json.loads(line)
        if "payload_base64" in document:
            payload = base64.b64decode(document["payload_base64"])
        else:
            payload = line.rstrip()[line.index(_PAYLOAD) + len(_PAYLOAD) : -1]
        head = (
            base64.b64decode(document["head_base64"])
            if "head_base64" in document
            else header_block(document["headers"])
            if document["headers"]
            else b""
        )
        subject = document["subject"].encode(errors="surrogateescape")
        return Recorded(
            document["stream"], int(document["seq"]), str(document["time"]), WireMsg(subject, b"", head, payload)
        )
    except (ValueError, KeyError, TypeError, AttributeError, HeaderError) as error:
        raise RecordingError(
            f"this is no line of a recording ({type(error).__name__}: {error}): {line[:120]!r}"
        ) from None


def _headers(head: bytes) -> dict[str, str] | None:
    """The headers by name, when they say everything that ``head`` does; else None."""
    if not head:
        return {}
    try:
        lines = head[len(_FIRST) : -4].decode().split("\r\n")
    except UnicodeDecodeError:
        return None
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    same = b"%b%b\r\n" % (_FIRST, "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode())
    if same != head or len({name.lower() for name in headers}) < len(lines):
        return None
    # what could not be written as a header again stays as it is
    return (
        headers if all(value and value == value.strip() and value.isprintable() for value in headers.values()) else None
    )


def _one_line(payload: bytes) -> bool:
    if b"\n" in payload or b"\r" in payload or payload != payload.strip():
        return False
    try:
        from_json(payload, allow_inf_nan=False)
        payload.decode()
    except ValueError:
        return False
    return True
