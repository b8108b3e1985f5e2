"""Parquet: decimals as decimals where a column fits into 38 digits, else as text; moments as timestamps in UTC.

How many digits a column needs is known when all of it was seen. So what comes is first kept in a file of Arrow's own
beside the target, and made into Parquet batch by batch at the end: memory stays the same however much it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mts1b_platform.eventbus.history.recorded import Recorded

from mts1b_operations.export.columns import Column, Table

# without types of its own
pa: Any = import_module("pyarrow")
pc: Any = import_module("pyarrow.compute")
pj: Any = import_module("pyarrow.json")
pq: Any = import_module("pyarrow.parquet")

_MOST_DIGITS: Final = 38
_TOGETHER: Final = 8
"""Batches in a row group."""
_TYPES: Final[dict[str, Any]] = {
    "text": pa.string(),
    "json": pa.string(),
    "decimal": pa.string(),
    "moment": pa.string(),
    "whole": pa.int64(),
    "float": pa.float64(),
    "yes_no": pa.bool_(),
}


@dataclass(slots=True)
class _Digits:
    """The digits that a column needs so far."""

    before: int = 1
    behind: int = 0

    @property
    def fits(self) -> bool:
        return self.before + self.behind <= _MOST_DIGITS


class ParquetFile:
    """A table of events as a Parquet file, complete when the block ends well.

    Args:
        path: where it is written.
        table: what makes messages into columns.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self._kept = path.with_name(f"{path.name}.arrow")
        self._table = table
        self._digits = {each.name: _Digits() for each in table.columns if each.kind == "decimal"}
        self._schema = pa.schema([pa.field(each.name, _TYPES[each.kind]) for each in table.columns])
        nested = any(each.kind == "json" for each in table.own)
        self._own = None if nested else pa.schema([self._schema.field(each.name) for each in table.own])
        self._writer: Any = None

    def __enter__(self) -> Self:
        self._writer = pa.ipc.new_file(str(self._kept), self._schema)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if error is None:
                self._finish()
        finally:
            self._kept.unlink(missing_ok=True)

    @property
    def refused(self) -> int:
        """Events so far that a strict consumer refuses."""
        return self._table.refused

    def write(self, batch: Sequence[Recorded]) -> None:
        """Take the next events."""
        rows = self._table.rows(batch)
        own = _parsed(rows.payloads, self._own) or self._table.fields(rows.payloads)
        values = rows.envelope | own
        arrays: list[Any] = []
        for column in self._table.columns:
            array = values[column.name]
            if isinstance(array, list):
                array = pa.array(array, type=_TYPES[column.kind])
            if column.kind == "decimal":
                array = _plain(array)
                _measure(array, self._digits[column.name])
            arrays.append(array)
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))

    def _finish(self) -> None:
        schema = pa.schema([self._field(each) for each in self._table.columns])
        with pa.memory_map(str(self._kept)) as kept, pq.ParquetWriter(str(self._path), schema) as writer:
            reader = pa.ipc.open_file(kept)
            for start in range(0, reader.num_record_batches, _TOGETHER):
                numbers = range(start, min(start + _TOGETHER, reader.num_record_batches))
                part = pa.Table.from_batches([reader.get_batch(number) for number in numbers])
                columns = [_cast(part.column(field.name), field.type) for field in schema]
                writer.write_table(pa.table(columns, schema=schema))

    def _field(self, column: Column) -> Any:
        words = {"description": column.words} if column.words else {}
        if column.kind == "moment":
            return pa.field(column.name, pa.timestamp("us", tz="UTC"), metadata=words)
        if column.kind == "json":
            return pa.field(column.name, pa.string(), metadata={**words, "mts": "JSON text"})
        if column.kind != "decimal":
            return pa.field(column.name, _TYPES[column.kind], metadata=words)
        digits = self._digits[column.name]
        if digits.fits:
            return pa.field(column.name, pa.decimal128(digits.before + digits.behind, digits.behind), metadata=words)
        said = (
            f"a decimal as text: {digits.before} digits before and {digits.behind} behind the point do not fit into 38"
        )
        return pa.field(column.name, pa.string(), metadata={**words, "mts": said})


def _parsed(payloads: Sequence[bytes | None], schema: Any) -> dict[str, Any] | None:
    """The columns of ``payloads`` as Arrow reads them, all at a time; None where it cannot say them exactly.

    Arrow reads one document a line. It refuses what it would have to convert, such as a number in a column of text.
    """
    documents = [each for each in payloads if each is not None]
    lines = b"\n".join(documents)
    if schema is None or len(documents) < len(payloads) or lines.count(b"\n") != len(documents) - 1:
        return None
    try:
        table = pj.read_json(
            pa.BufferReader(lines),
            pj.ReadOptions(block_size=len(lines) + 1),
            pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(documents):
        return None
    return {name: table.column(name).combine_chunks() for name in schema.names}


def _cast(values: Any, kind: Any) -> Any:
    """Text as what it says; moments to the microsecond, rounded down, as readers without pandas know no finer ones."""
    if pa.types.is_timestamp(kind):
        return pc.cast(pc.cast(values, pa.timestamp("ns", tz="UTC")), kind, safe=False)
    return pc.cast(values, kind)


def _plain(array: Any) -> Any:
    """Decimals written with an exponent, without it."""
    if not pc.any(pc.match_substring_regex(array, "[eE]")).as_py():
        return array
    return pa.array([None if text is None else f"{Decimal(text):f}" for text in array.to_pylist()], type=pa.string())


def _measure(array: Any, digits: _Digits) -> None:
    """Take note of the digits that the decimals in ``array`` need."""
    unsigned = pc.utf8_ltrim(array, characters="-")
    point, length = pc.find_substring(unsigned, "."), pc.utf8_length(unsigned)
    none = pc.less(point, 0)
    before = pc.max(pc.if_else(none, length, point)).as_py() or 1
    behind = pc.max(pc.if_else(none, 0, pc.subtract(pc.subtract(length, point), 1))).as_py() or 0
    digits.before, digits.behind = max(digits.before, before), max(digits.behind, behind)
