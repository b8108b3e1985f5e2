"""Events as files: nothing of them changes on the way, and no cell runs anything."""

import csv
import json
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mts1b_foundation.event import Event
from mts1b_foundation.orders import Order, OrderV2
from mts1b_foundation.samples import NAV, ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, TREASURY_NAV, Subject, registry
from mts1b_operations.export.columns import Table, columns_of
from mts1b_operations.export.csv_file import CsvFile, cell
from mts1b_operations.export.json_lines import JsonLinesFile, RecordingError, line_of, recorded_of
from mts1b_operations.export.parquet import ParquetFile
from mts1b_operations.export.run import ExportError, payload_of
from mts1b_operations.history.query import parse
from mts1b_operations.history.seen import Decoders
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import envelope
from mts1b_platform.eventbus.protocol.headers import header_block
from mts1b_platform.eventbus.protocol.message import WireMsg

pa: Any = import_module("pyarrow")
pq: Any = import_module("pyarrow.parquet")

_DECODERS = Decoders(registry())


def recorded(subject: Subject[Any], payload: Event | bytes, seq: int = 1) -> Recorded:
    headers = envelope(
        source_repo=subject.producer, schema=subject.schema_id, actor="me", trace_id="t" * 32, msg_id=f"m-{seq}"
    )
    body = payload if isinstance(payload, bytes) else payload.model_dump_json().encode()
    wire = WireMsg(subject.pattern.encode(), b"", header_block(headers), body)
    return Recorded("OMS_ORDERS", seq, "2026-11-29T03:12:03.196192123Z", wire)


def orders(*quantities: str) -> list[Recorded]:
    return [
        recorded(OMS_ORDERS_CREATED, ORDER.model_copy(update={"quantity": Decimal(text)}), seq)
        for seq, text in enumerate(quantities, 1)
    ]


def parquet(path: Path, payload: type[Event], *batches: list[Recorded]) -> Any:
    with ParquetFile(path, Table(payload, _DECODERS)) as file:
        for batch in batches:
            file.write(batch)
    return pq.read_table(path)


def test_decimals_are_exact_and_as_wide_as_they_need(tmp_path: Path):
    table = parquet(tmp_path / "a.parquet", Order, orders("1.5", "1E+3"), orders("0.00000001"))
    assert table.schema.field("quantity").type == pa.decimal128(12, 8)
    assert table.column("quantity").to_pylist() == [Decimal("1.5"), Decimal(1000), Decimal("0.00000001")]
    assert table.column("limit_price").to_pylist()[0] == ORDER.limit_price
    found = duckdb.read_parquet(str(tmp_path / "a.parquet")).aggregate("sum(quantity), max(created_at)").fetchall()
    assert found[0][0] == Decimal("1001.50000001")
    assert found[0][1] == ORDER.created_at


def test_decimals_beyond_38_digits_stay_text_and_the_schema_says_so(tmp_path: Path):
    table = parquet(tmp_path / "a.parquet", Order, orders("9" * 20, "0." + "1" * 25))
    field = table.schema.field("quantity")
    assert field.type == pa.string()
    assert b"20 digits before and 25 behind" in field.metadata[b"mts"]
    assert table.column("quantity").to_pylist() == ["9" * 20, "0." + "1" * 25]


def test_a_refused_event_keeps_its_place_with_the_reason(tmp_path: Path):
    broken = recorded(OMS_ORDERS_CREATED, b'{"order_id": 1}\xff', 2)
    table = parquet(tmp_path / "a.parquet", Order, [*orders("1"), broken, *orders("3")])
    assert table.num_rows == 3
    assert table.column("order_id").to_pylist() == [ORDER.order_id, None, ORDER.order_id]
    why, payload = table.column("mts_refused").to_pylist()[1], table.column("mts_refused_payload").to_pylist()[1]
    assert why.startswith("invalid_payload: mts.v1.oms.orders.created")
    assert payload == '{"order_id": 1}\\xff'


@settings(max_examples=30)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "quantity": st.sampled_from(["1", "1.50", "1e3", "0.00000001", "9" * 30]),
                "limit_price": st.decimals("0.01", 10**6, places=6).map(str),
                "updated_at": st.sampled_from(["2026-11-29T03:12:03Z", "2026-11-29T03:12:03.123456Z"]),
                "status": st.just("rejected"),
                "rejected_reason": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
def test_many_at_a_time_are_read_as_one_by_one(tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, Any]]):
    payloads = [json.dumps(json.loads(ORDER.model_dump_json()) | each).encode() for each in changes]
    folder = tmp_path_factory.mktemp("read")
    together, apart = (
        parquet(folder / name, Order, [recorded(OMS_ORDERS_CREATED, each, seq) for seq, each in enumerate(some, 1)])
        for name, some in (("a", payloads), ("b", [each[:-1] + b"\n}" for each in payloads]))
    )
    assert together.schema.equals(apart.schema, check_metadata=True)
    shown = "mts_refused_payload"  # as it came
    assert together.drop_columns(shown).equals(apart.drop_columns(shown))


def test_what_is_nested_is_json_text(tmp_path: Path):
    table = parquet(tmp_path / "a.parquet", type(NAV), [recorded(TREASURY_NAV, NAV)])
    assert table.schema.field("positions").metadata[b"mts"] == b"JSON text"
    assert json.loads(table.column("positions")[0].as_py())[0]["symbol"] == NAV.positions[0].symbol


def test_every_payload_has_columns():
    for subject in registry():
        names = [column.name for column in columns_of(subject.payload)]
        assert len(names) == len(set(names))


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path):
    def interrupted() -> None:
        with ParquetFile(tmp_path / "a.parquet", Table(Order, _DECODERS)) as file:
            file.write(orders("1"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_table_is_one(tmp_path: Path):
    assert parquet(tmp_path / "a.parquet", Order).num_rows == 0


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd", "'+cmd"), ("-1+2", "'-1+2"), ("\tx", "'\tx"),
        ("-1.5", "-1.5"), ("+3", "+3"), ("1E-5", "1E-5"), ("plain", "plain"), (-2, -2), (True, "true"), (None, None),
    ],
)  # fmt: skip
def test_a_cell_is_no_formula(value: object, written: object):
    assert cell(value) == written


def test_csv_reads_back(tmp_path: Path):
    evil = ORDER.model_copy(update={"actor": "=cmd|'/c'!A1"})
    with CsvFile(tmp_path / "a.csv", Table(Order, _DECODERS)) as file:
        file.write([recorded(OMS_ORDERS_CREATED, evil)])
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert row["actor"] == "'=cmd|'/c'!A1"
    assert row["quantity"] == "0.5"
    assert row["mts_seq"] == "1"


_HEADS = (
    st.just(b"")
    | st.binary(max_size=60)
    | st.binary(max_size=20).map(lambda value: b"NATS/1.0\r\na: %b\r\nB: c\r\n\r\n" % value)
    | st.dictionaries(st.sampled_from(["a", "A", "b"]), st.from_regex(r"[!-~]{1,5}", fullmatch=True), max_size=2)
    .filter(lambda headers: len({name.lower() for name in headers}) == len(headers))
    .map(header_block)
)


@given(
    st.binary() | st.sampled_from([b"{}", b' {"a":1}', b'{"a": "\n"}', b"NaN", b'"\xff"', b'{"payload": 1}']),
    _HEADS,
    st.text(min_size=1),
)
def test_a_recording_gives_back_every_byte(payload: bytes, head: bytes, subject: str):
    name = subject.encode(errors="replace")
    message = Recorded("S", 3, "2026-11-29T03:12:03.196192123Z", WireMsg(name, b"", head, payload))
    line = line_of(message)
    assert line.count(b"\n") == 1
    json.loads(line)
    assert recorded_of(line) == message


def test_a_line_that_is_no_recording_is_refused():
    for line in (b"", b"{}", b"[]", b'{"stream": 1, "payload": 2}', b"\xff"):
        with pytest.raises(RecordingError, match="no line of a recording"):
            recorded_of(line)


def test_json_lines_show_the_payload_as_it_came(tmp_path: Path):
    with JsonLinesFile(tmp_path / "a.jsonl", _DECODERS) as file:
        file.write(orders("1.50"))
    document = json.loads((tmp_path / "a.jsonl").read_text())
    assert document["payload"]["quantity"] == "1.50"
    assert document["headers"]["mts-actor"] == "me"


def test_a_table_has_one_payload():
    assert payload_of(parse("subject:oms.orders.> fund:alpha").query, _DECODERS) is OrderV2
    with pytest.raises(ExportError, match="several payloads"):
        payload_of(parse("subject:oms.>").query, _DECODERS)
    with pytest.raises(ExportError, match="no registered subject"):
        payload_of(parse("subject:mts.v1.nobody.here.at_all").query, _DECODERS)
    with pytest.raises(ExportError, match="name a subject"):
        payload_of(parse("fund:alpha").query, _DECODERS)
