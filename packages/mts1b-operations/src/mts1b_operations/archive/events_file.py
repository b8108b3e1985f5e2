"""Events as Parquet, byte by byte as they were published: one row an event, the same columns for every subject."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import ACTOR, MSG_ID, SCHEMA, SOURCE_REPO, TRACE_ID
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.message import WireMsg

from mts1b_operations.archive.manifest import ArchiveError

try:  # without types of its own
    pa: Any = import_module("pyarrow")
    pq: Any = import_module("pyarrow.parquet")
except ImportError:
    raise ArchiveError("an archive needs pyarrow: pip install 'mts1b-operations[parquet]'") from None

_COLUMNS: Final[dict[str, Any]] = {
    "seq": pa.int64(),
    "time": pa.string(),
    "subject": pa.string(),
    "msg_id": pa.string(),
    "trace_id": pa.string(),
    "source_repo": pa.string(),
    "actor": pa.string(),
    "schema": pa.string(),
    "payload": pa.string(),
    "raw_subject": pa.binary(),
    "raw_headers": pa.binary(),
    "raw_payload": pa.binary(),
}
"""``payload`` is the text of one; where it, or a subject, is no UTF-8, the raw column has it."""
_SCHEMA: Final = pa.schema(list(_COLUMNS.items()))
_BATCH: Final = 10_000


class EventsFile:
    """Writes one file; complete when :meth:`close` returns."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(str(path), _SCHEMA, compression="zstd")

    def write(self, batch: Sequence[Recorded]) -> None:
        """Take the next events."""
        rows = [_row(each) for each in batch]
        columns = [pa.array([row[number] for row in rows], kind) for number, kind in enumerate(_COLUMNS.values())]
        self._writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))

    def close(self) -> None:
        """Write the end."""
        self._writer.close()


def read_events(path: Path, stream: str) -> Iterator[list[Recorded]]:
    """The events of a file, in lists, as the stream held them.

    Raises:
        ArchiveError: it cannot be read.
    """
    wanted = ["seq", "time", "subject", "payload", "raw_subject", "raw_headers", "raw_payload"]
    try:
        with pq.ParquetFile(str(path)) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=wanted):
                rows = zip(*(batch.column(name).to_pylist() for name in wanted), strict=True)
                yield [_recorded(stream, *row) for row in rows]
    except (OSError, pa.ArrowException, TypeError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error


def _row(recorded: Recorded) -> tuple[Any, ...]:
    wire, envelope = recorded.wire, _envelope(recorded.wire)
    subject, payload = _text(wire.subject), _text(wire.payload)
    return (
        recorded.seq,
        recorded.stamp,
        subject,
        *envelope,
        payload,
        None if subject is not None else wire.subject,
        wire.head,
        None if payload is not None else wire.payload,
    )


def _envelope(wire: WireMsg) -> list[str | None]:
    headers = wire.headers
    try:
        return [headers.get(name) for name in (MSG_ID, TRACE_ID, SOURCE_REPO, ACTOR, SCHEMA)]
    except HeaderError:
        return [None] * 5  # the raw ones say what there is


def _recorded(
    stream: str,
    seq: int,
    stamp: str,
    subject: str | None,
    payload: str | None,
    raw_subject: bytes | None,
    raw_headers: bytes,
    raw_payload: bytes | None,
) -> Recorded:
    own_subject = subject.encode() if subject is not None else raw_subject or b""
    own_payload = payload.encode() if payload is not None else raw_payload or b""
    return Recorded(stream, seq, stamp, WireMsg(own_subject, b"", raw_headers, own_payload))


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
