"""Fields that are marked sensitive: nobody without the right sees, finds or exports them."""

import csv
import json
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.event import Event, Money, utc_now
from mts1b_foundation.sensitive import sensitive_fields
from mts1b_foundation.subjects import DurableSubject, Registry, Tier
from mts1b_operations.deadletters.letters import Letter, grouped
from mts1b_operations.export.columns import Table
from mts1b_operations.export.csv_file import CsvFile
from mts1b_operations.export.json_lines import JsonLinesFile
from mts1b_operations.export.parquet import ParquetFile
from mts1b_operations.history.lines import Lines
from mts1b_operations.history.matching import matches, may_match, needles
from mts1b_operations.history.query import parse
from mts1b_operations.history.seen import Decoders, Heard, Seen
from mts1b_operations.index.keys import key_of, keys_of
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import envelope
from mts1b_platform.eventbus.protocol.headers import header_block
from mts1b_platform.eventbus.protocol.message import WireMsg
from pydantic import AliasChoices, AliasPath, ConfigDict, Field

pq: Any = import_module("pyarrow.parquet")

SECRET = "DE8937040044"
AMOUNT = "77123.45"
Account = Annotated[str, Field(json_schema_extra={"sensitive": True})]


class Holder(Event):
    city: str
    tax_number: str = Field(json_schema_extra={"sensitive": True})


class Transfer(Event):
    transfer_id: str
    amount: Money = Field(json_schema_extra={"sensitive": True})
    account: Account | None = None
    others: tuple[Account, ...] = ()
    holder: Holder | None = None
    holders: tuple[Holder, ...] = ()
    note: str = ""


class Aliased(Event):
    tax_number: str = Field(alias="taxNumber", json_schema_extra={"sensitive": True})


class Renamed(Event):
    number: str = Field(
        validation_alias=AliasChoices("number", "old_number", AliasPath("older", "number")),
        json_schema_extra={"sensitive": True},
    )
    aliased: Annotated[tuple[Aliased, ...], Field(json_schema_extra={"sensitive": True})] = ()


class Holds(Event):
    held: tuple[Renamed | None, ...] = ()


class Closed(Event):
    model_config = ConfigDict(json_schema_extra={"sensitive": True})
    name: str


class Parcel(Event):
    """Nothing of it is sensitive."""

    parcel_id: str


TRANSFERS = DurableSubject(
    "mts.v1.bank.transfers.made", producer="mts1b-bank", payload=Transfer, tier=Tier.AT_LEAST_ONCE,
    description="money was moved", dedupe_key="{transfer_id}", correlates={"transfer": "account"},
)  # fmt: skip
PARCELS = DurableSubject(
    "mts.v1.bank.parcels.sent", producer="mts1b-bank", payload=Parcel, tier=Tier.AT_LEAST_ONCE,
    description="a parcel went out", dedupe_key="{parcel_id}",
)  # fmt: skip
LETTERS = DurableSubject(
    "mts.v1.bank.deadletters.created", producer="mts1b-bank", payload=DeadLetter, tier=Tier.AT_LEAST_ONCE,
    description="given up", dedupe_key="{dead_letter_id}",
)  # fmt: skip
REGISTRY = Registry([TRANSFERS, PARCELS, LETTERS])
MASKED, OPEN = Decoders(REGISTRY), Decoders(REGISTRY, masks=False)

TRANSFER = Transfer(
    transfer_id="t-1", amount=Decimal(AMOUNT), account=SECRET, others=(SECRET,), note="rent",
    holder=Holder(city="Bonn", tax_number=SECRET), holders=(Holder(city="Kiel", tax_number=SECRET),),
)  # fmt: skip


HEADERS = {
    subject.pattern: envelope(
        source_repo="mts1b-bank", schema=subject.schema_id, actor="x", trace_id="5f0c" * 8, msg_id="m-1"
    )
    for subject in REGISTRY
}


def message(subject: DurableSubject[Any], payload: bytes) -> Recorded:
    wire = WireMsg(subject.pattern.encode(), b"", header_block(HEADERS[subject.pattern]), payload)
    return Recorded("BANK", 7, "2026-11-29T03:12:03.1Z", wire)


def dead(payload: bytes, subject: str = TRANSFERS.pattern) -> DeadLetter:
    try:
        raise ValueError(f"{SECRET} has no {AMOUNT}")
    except ValueError as error:
        return DeadLetter.of_stored(
            subject=subject, headers=HEADERS[subject], payload=payload, stream="BANK", sequence=7,
            stored_at=utc_now(), consumer="books", deliveries=3, reason=DeadLetterReason.REJECTED, error=error,
        )  # fmt: skip


GOOD = message(TRANSFERS, TRANSFER.model_dump_json().encode())
BAD = message(
    TRANSFERS, json.dumps({"transfer_id": "t-2", "amount": {"of": AMOUNT}, "account": SECRET, SECRET: 1}).encode()
)
NO_JSON = message(TRANSFERS, f"\xff{SECRET} {AMOUNT}".encode("latin-1"))
LETTER = message(LETTERS, dead(GOOD.wire.payload).model_dump_json().encode())
CUT = message(LETTERS, dead(GOOD.wire.payload[:-40]).model_dump_json().encode())
BROKEN_LETTER = message(LETTERS, b'{"error": "' + SECRET.encode() + AMOUNT.encode() + b'"}')
TWICE = message(LETTERS, dead(LETTER.wire.payload, LETTERS.pattern).model_dump_json().encode())
EVERY = {
    "good": GOOD, "bad": BAD, "no json": NO_JSON, "letter": LETTER, "cut letter": CUT, "broken letter": BROKEN_LETTER,
    "letter of a letter": TWICE,
}  # fmt: skip


def told(seen: Seen) -> str:
    """Everything that is shown of an event anywhere."""
    payload = seen.payload
    texts = [json.dumps(seen.to_json()), seen.summary, repr(seen.document), repr(seen.names), str(seen.refused)]
    texts += [seen.recorded.wire.payload.decode(errors="replace"), *Lines(None).of(seen)]
    if isinstance(payload, DeadLetter):
        texts += [repr(payload), payload.payload.decode()]
    return "\n".join(texts)


def test_marks_are_found_at_fields_at_types_and_in_models_that_are_held():
    assert sensitive_fields(Transfer) == {"amount", "account", "others", "tax_number"}
    assert sensitive_fields(Aliased) == {"tax_number", "taxNumber"}
    assert sensitive_fields(Holds) == sensitive_fields(Renamed)
    assert sensitive_fields(Renamed) == {"number", "old_number", "older", "aliased", "tax_number", "taxNumber"}
    assert sensitive_fields(Closed) == {"name"}
    assert sensitive_fields(Parcel) == sensitive_fields(DeadLetter) == frozenset()


@pytest.mark.parametrize("name", EVERY)
def test_nothing_that_is_shown_holds_a_sensitive_value(name: str):
    for seen in (Seen(EVERY[name], MASKED), Heard(EVERY[name].wire, EVERY[name].stamp, MASKED)):
        shown = told(seen)
        assert SECRET not in shown
        assert AMOUNT not in shown
        assert seen.judge() == (Seen(EVERY[name], OPEN).refused is not None), "what is masked is judged as it came"
        assert (seen.refused is None) == (not seen.judge())


def test_what_is_not_marked_stays_and_who_may_sees_everything():
    seen = Seen(GOOD, MASKED)
    assert seen.document == {
        "transfer_id": "t-1", "amount": "***", "account": "***", "others": "***", "note": "rent",
        "holder": {"city": "Bonn", "tax_number": "***"}, "holders": [{"city": "Kiel", "tax_number": "***"}],
    }  # fmt: skip
    assert seen.summary == "transfer_id=t-1 amount=*** account=*** others=*** note=rent"
    assert (seen.refused, seen.names) == (None, {})
    assert Seen(GOOD, OPEN).document["amount"] == AMOUNT
    assert Seen(GOOD, OPEN).names == {"transfer": SECRET}
    assert Seen(GOOD, OPEN).payload == TRANSFER
    parcel = message(PARCELS, b'{"parcel_id":"p-1", "extra": 1}')
    assert MASKED.shown(parcel) is parcel
    assert "extra" in str(Seen(parcel, MASKED).refused)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "query",
    [SECRET, f'"{SECRET}"', SECRET[2:6], AMOUNT, f"account:{SECRET}", f"account:{SECRET[:4]}*", "amount>77000",
     "amount:77000..78000", f"holder.tax_number:{SECRET}", f"transfer:{SECRET}", f"error:*{SECRET}*",
     f"traceback:*{AMOUNT}*"],
)  # fmt: skip
def test_nobody_finds_what_is_not_shown(name: str, query: str):
    wanted = parse(query).query
    assert not matches(wanted, Seen(EVERY[name], MASKED))
    assert matches(parse(f"-({query})").query, Seen(EVERY[name], MASKED)), "nor by excluding it"


def test_who_may_see_it_finds_it():
    for query in (SECRET, f"account:{SECRET}", "amount>77000", f"transfer:{SECRET}"):
        assert may_match(needles(parse(query).query), GOOD)
        assert matches(parse(query).query, Seen(GOOD, OPEN)), query


def test_a_dead_letter_keeps_its_place_and_its_group_says_no_value():
    letter = Seen(LETTER, MASKED).payload
    assert isinstance(letter, DeadLetter)
    assert (letter.consumer, letter.sequence, letter.reason) == ("books", 7, DeadLetterReason.REJECTED)
    assert json.loads(letter.payload)["note"] == "rent"
    (group,) = grouped([Letter(1, letter)])
    assert SECRET not in group.error
    assert "masked" in group.error
    plain = dead(b"{}", PARCELS.pattern)
    assert MASKED.shown_letter(plain) is plain


def test_the_index_takes_no_key_of_a_masked_name():
    assert key_of("transfer", SECRET) not in keys_of(GOOD, MASKED) | keys_of(LETTER, MASKED)
    assert key_of("transfer", SECRET) in keys_of(GOOD, OPEN) & keys_of(LETTER, OPEN)


def test_files_hold_masks_in_place_of_values(tmp_path: Path):
    paths = [tmp_path / "a.jsonl", tmp_path / "a.csv", tmp_path / "a.parquet"]
    batch = [GOOD, BAD, NO_JSON]
    sinks: list[Any] = [
        JsonLinesFile(paths[0], MASKED), CsvFile(paths[1], Table(Transfer, MASKED)),
        ParquetFile(paths[2], Table(Transfer, MASKED)),
    ]  # fmt: skip
    for sink in sinks:
        with sink as file:
            file.write(batch)
    assert [sink.refused for sink in sinks[1:]] == [2, 2]
    rows = pq.read_table(paths[2]).to_pylist()
    with paths[1].open() as file:
        cells = list(csv.DictReader(file))
    assert [(row["transfer_id"], row["amount"], row["account"]) for row in rows] == [("t-1", "***", "***")] + [
        (None,) * 3
    ] * 2
    assert (cells[0]["amount"], cells[0]["note"]) == ("***", "rent")
    assert json.loads(paths[0].read_text().splitlines()[0])["payload"]["amount"] == "***"
    for text in (paths[0].read_text(), paths[1].read_text(), repr(rows)):
        assert SECRET not in text
        assert AMOUNT not in text
    with ParquetFile(paths[2], Table(Transfer, OPEN)) as file:
        file.write([GOOD])
    assert pq.read_table(paths[2]).to_pylist()[0]["amount"] == Decimal(AMOUNT)
