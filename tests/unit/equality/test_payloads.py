"""What the codec reads and writes is what pydantic reads and writes, for every registered payload.

Payloads are made from a seed: valid ones, and such as are bent in every way that comes to mind. The same program in its
long form, with whichever form of the codec is at work::

    python tests/unit/equality/test_payloads.py --payloads 1000000 --seed 7
"""
# ruff: noqa: SIM905 - tables of words

import argparse
import json
import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest
from mts1b_foundation.event import Event
from mts1b_foundation.samples import SAMPLES
from mts1b_platform.eventbus.codec.payload import decoder, encoder, plan_of
from mts1b_platform.eventbus.codec.plan import plan
from mts1b_platform.eventbus.core import CORE, at_work
from pydantic import ValidationError

BASES = {type(event): event for event in SAMPLES}
WORDS = [
    *"BTC/USD alpha crypto_dual_paper x replay:a BRK.B order-000001 1m 15s 1d é 日本 a/b \u00ad \ufffe \ufeff".split(
        " "
    ),
    *["", " ", "a b", "a\x7f", "a\x80", "\u2028", "tab\there", 'q"q', "b\\b", "\x00", "x\n", "\nx"],
    *["a" * size for size in (64, 65, 200, 201, 2000, 2001)],
    *["😀" * size for size in (16, 17, 64, 65)],
]
ODD_STRINGS = r"""
    "\ud800" "\u0041" "\/" "\x" "\ " null 1 true [] {} "\ud83d\ude00" "\n" 'a' "a\u0000" nul nulll - tru falsee NaN
    Infinity -Infinity
""".split()
ODD_NUMBERS = """
    0 -0 1 -1 0.0 -0.0 1.0 1e3 1E3 1e+3 1e-3 01 -01 1. .5 +1 1e 1e+ 1e400 -1e400 1e-400 5e-324 2.4703282292062327e-324
    1.7976931348623157e308 1.7976931348623159e308 9007199254740993 9007199254740993.0 0.1 0.30000000000000004
    123456789012345678 999999999999999999 1000000000000000000 9223372036854775807 9223372036854775808
    18446744073709551616 111111111111111111111111111111 0.111111111111111111111111111111 11111111111111111.5 8.5e15
    123456789012345.67 1e22 1e23 0.00000000000000000000000001 100000000000000000000.5 1_0 0x1 1.5.5 --1 1-1
    937070040004749.25 0.00001 0.000009 1e15 1e16 999999999999999.9
""".split()
ODD_DECIMALS = [
    *"0 0.0 00 -0 -1 +1 1e5 1E-5 1e+3 NaN Infinity sNaN 1_0 1. .5 - 1.50 1.5000 1,5 0x1 1e999999999 0.2 1 1.0".split(),
    *("", " 1", "1 ", "\u0661", "1.0000000001", "0.999", "-0.0", "1" * 20 + "." + "1" * 18),
    *["0" * size + "1" for size in (17, 18)],
    *["1" * size for size in (18, 19, 38, 39, 60, 61)],
    *["0." + "0" * size + end for size in (17, 18) for end in ("", "1")],
    *["1" * 18 + "." + "9" * size for size in (18, 19)],
]
ODD_MOMENTS = """
    0000-01-01T00:00:00Z 2021-02-29T00:00:00Z 2020-02-29T00:00:00Z 1900-02-29T00:00:00Z 2000-02-29T00:00:00Z
    2021-04-31T00:00:00Z 2021-13-01T00:00:00Z 2021-00-01T00:00:00Z 2021-01-00T00:00:00Z 2021-01-01T23:60:00Z
    2021-01-01T23:59:60Z 9999-12-31T23:59:59.999999Z 10000-01-01T00:00:00Z 1610107200 2021-1-8T12:00:00Z /021-01-08T
    2021-01-08T24:00:00Z 2021-01-08T12:00Z 2021-01-08
""".split()
ROWS = 512
"""Payloads that are drawn together."""
EACH_LEFT = 32
"""Of so many payloads one is compared in the long run where the compiled core leaves it to the pure codec."""
ENDS_OF_MOMENTS = "+00:00 z +01:00 -00:00 ZZ .123Z .Z .1234567Z .12Z ,5Z".split()


class Drawn:
    """Values as they stand in JSON, and whole payloads of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable

    def string(self) -> str:
        choice = self.random
        match choice.randrange(10):
            case 0 | 1:
                return json.dumps(choice.choice(WORDS), ensure_ascii=choice.random() < 0.5)
            case 2:
                return '"' + choice.choice(WORDS) + '"'
            case 3:
                return choice.choice(ODD_STRINGS)
            case 4:
                codes = (
                    choice.choice([choice.randrange(32, 0x300), choice.randrange(0x10000, 0x10400)]) for _ in range(9)
                )
                return json.dumps("".join(map(chr, codes)), ensure_ascii=False)
            case _:
                return json.dumps("".join(chr(choice.randrange(33, 127)) for _ in range(choice.randint(1, 40))))

    def number(self) -> str:
        choice = self.random
        match choice.randrange(8):
            case 0:
                return choice.choice(ODD_NUMBERS)
            case 1:
                return repr(struct.unpack("d", choice.randbytes(8))[0])
            case 2:
                whole, part = (choice.randrange(10 ** choice.randint(1, 19)) for _ in range(2))
                return f"{whole}.{part:03d}"
            case 3:
                return str(choice.randrange(-(10**6), 10 ** choice.randint(1, 20)))
            case _:
                return repr(round(choice.random() * 10 ** choice.randint(0, 6), choice.randint(0, 8)))

    def decimal(self) -> str:
        choice = self.random
        if choice.random() < 0.2:
            return json.dumps(choice.choice(ODD_DECIMALS), ensure_ascii=choice.random() < 0.5)
        digits = choice.randrange(10 ** choice.randint(1, 20)) * choice.choice([1, 1, 1, -1])
        return json.dumps(str(Decimal(digits).scaleb(-choice.randint(0, 10))))

    def moment(self) -> str:
        choice = self.random
        second = timedelta(seconds=choice.randrange(315537897599))
        micro = timedelta(microseconds=choice.choice([0, choice.randrange(10**6), choice.randrange(1000) * 1000]))
        text = (datetime(1, 1, 1, tzinfo=UTC) + second + micro).isoformat().replace("+00:00", "Z")
        if choice.random() < 0.3:
            odd = [
                *ODD_MOMENTS,
                *(text[:19] + end for end in ENDS_OF_MOMENTS),
                text.replace("T", " "),
                text.lower(),
                "",
            ]
            text = choice.choice(odd)
        return json.dumps(text, ensure_ascii=choice.random() < 0.5)

    def any(self) -> str:
        return self.random.choice([self.string, self.number, self.decimal, self.moment])()

    def like(self, value: Any) -> str:
        """A value of the form of ``value``: arrays of other lengths, objects with some of their values changed."""
        choice = self.random
        if isinstance(value, list):
            inner: list[Any] = value or [self.random.choice(["1s", 1])]
            items = [self.like(choice.choice(inner)) for _ in range(choice.choice([0, 1, 1, 2, 3]))]
            return self._spaced("[", items, "]")
        if isinstance(value, dict):
            pairs: list[tuple[str, str]] = [(json.dumps(name), self.like(its)) for name, its in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            if choice.random() < 0.3:
                pairs = self._changed(pairs)
            return self._spaced("{", [f"{name}:{its}" for name, its in pairs], "}")
        return self.any() if choice.random() < 0.15 else json.dumps(value, ensure_ascii=choice.random() < 0.5)

    def _changed(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        choice = self.random
        at = choice.randrange(len(pairs) + 1)
        match choice.randrange(5):
            case 0:
                pairs = [*pairs, *pairs[at : at + 1]]
            case 1:
                pairs = [*pairs[:at], *pairs[at + 1 :]]
            case 2:
                choice.shuffle(pairs)
            case _:
                words = json.dumps(choice.choice([*WORDS, "1s", "5m", "250ms", "0s", "1d", "10h"]))
                pairs.insert(at, (words, self.any() if choice.random() < 0.5 else pairs[at - 1][1] if pairs else "1"))
        return pairs

    def _spaced(self, begin: str, parts: list[str], end: str) -> str:
        blank = self.random.choice(["", "", "", " ", "\n "])
        return begin + blank + f"{blank},{blank}".join(parts) + blank + end

    def documents(self, fields: dict[str, list[str]], common: dict[str, list[str]]) -> Iterator[bytes]:
        """Payloads without end, of values that each field takes: three of four of ``common`` ones, every second bent.

        Values are drawn a column at a time: what is done for each value of each payload is what this takes.
        """
        choice = self.random
        columns = [self._column(each) for each in (fields, common)]
        while True:
            rows = [zip(*(choice.choices(values, k=ROWS) for values in column), strict=True) for column in columns]
            for number in range(ROWS):
                row = next(rows[number % 8 >= 2])
                items = [item for item in row if item is not None]
                yield self._document(items, bent=number % 2 == 1)

    def _column(self, fields: dict[str, list[str]]) -> list[list[tuple[str, str] | None]]:
        """What may stand for each field: one of its values, or nothing, in one of fifteen payloads."""
        columns: list[list[tuple[str, str] | None]] = []
        for name, values in fields.items():
            some = values * -(-15 // len(values))
            columns.append([*((name, value) for value in some), *[None] * (len(some) // 15)])
        return columns

    def _document(self, items: list[tuple[str, str]], *, bent: bool) -> bytes:
        """A payload with these; bent: something about it is not as it should be."""
        choice = self.random
        if choice.random() < 0.1:
            choice.shuffle(items)
        if bent:
            items = self._bend(items)
        comma, colon = ",", ":"
        if choice.random() < 0.2:
            comma = choice.choice([",", ", ", " ,\n", ",\r\n ", ",\x0b"])
            colon = choice.choice([":", ": ", " :\t", ":\x0c"])
        text = "{" + comma.join([f'"{name}"{colon}{value}' for name, value in items]) + "}"
        data = text.encode("utf-8", "surrogatepass")
        return self._damage(data) if bent and choice.random() < 0.5 else data

    def _bend(self, items: list[tuple[str, str]]) -> list[tuple[str, str]]:
        choice = self.random
        at = choice.randrange(len(items) or 1)
        if not items:
            return [("extra", "1")]
        name, value = items[at]
        match choice.randrange(8):
            case 0:
                del items[at]
            case 1:
                items.append((name, value))
            case 2:
                items.insert(at, ("extra", "1"))
            case 3:
                items[at] = (name, "null")
            case 4:
                items[at] = (name.upper(), value)
            case 5:
                items[at] = (name[:-1] + f"\\u{ord(name[-1]):04x}", value)
            case _:
                items[at] = (name, self.any())
        return items

    def _damage(self, data: bytes) -> bytes:
        choice = self.random
        at = choice.randrange(len(data))
        byte = bytes([choice.choice([choice.randrange(256), *b'{}[]",:\\ 0-.eE'])])
        ends = [b" ", b"\n\t", b"x", b"{}", b"\0", b","]
        whole = [b"", b"{}", b"[]", b"null", b"{,}", b'{"a"}', data[:-1] + b",}", data[1:]]
        changed = [
            data[:at],
            data[:at] + data[at + 1 :],
            data[:at] + byte + data[at:],
            data[:at] + byte + data[at + 1 :],
        ]
        begun = [begin + data for begin in (b" ", b"\xef\xbb\xbf", b"[")]
        return choice.choice([*changed * 3, *whole, *begun, *(data + end for end in ends)])


def outcome(read: Callable[[bytes], Any], data: bytes) -> tuple[Any, str]:
    """What was read, or the errors."""
    try:
        return read(data), ""
    except ValidationError as error:
        return None, repr(error.errors(include_url=False))


PLAIN = frozenset({str, int, bool, type(None)})
"""Classes of which two values that are equal are the same."""


def told(event: Event) -> Any:
    """What tells one event from another of those that are equal: types and order of its values, bits of its numbers."""
    values = vars(event)
    shown = repr(
        [value for value in values.values() if type(value) not in PLAIN]
    )  # with signs, exponents, zones, folds
    hidden = (event.__pydantic_extra__, event.__pydantic_private__)
    inner = [told(value) for value in values.values() if isinstance(value, Event)]
    return type(event), [*values], [*map(type, values.values())], shown, event.model_fields_set, hidden, inner


def hashed(event: Any) -> int | None:
    """The hash, of an event that has one: none of its values is a dict."""
    try:
        return hash(event)
    except TypeError:
        return None


class Left(Exception):
    """The compiled core leaves a payload to pure Python."""


def leave(_: Any) -> Any:
    raise Left


class Compared:
    """Reads and writes the payloads of a model both ways.

    What the compiled core leaves is read by nothing but the pure codec, of which ``each`` payload is compared.
    """

    def __init__(self, model: type[Event], each: int = 1) -> None:
        self._read, self._write = decoder(model), encoder(model)
        self._core = plan(model, leave, encoder(model))
        self._theirs = model.__pydantic_validator__.validate_json
        self._each = each
        self._seen = 0
        self.read = 0
        """Payloads that the compiled core read."""

    def __call__(self, data: bytes) -> bool:
        """Whether ``data`` was accepted."""
        self._seen += 1
        if self._core is not None:
            try:
                ours = self._core.decode(data)
            except Left:
                return self._seen % self._each == 0 and self._by_whichever(data)
            self.read += 1
            theirs, errors = outcome(self._theirs, data)
            assert not errors, data
            return self._same(ours, theirs, data)
        return self._by_whichever(data)

    def _by_whichever(self, data: bytes) -> bool:
        ours, our_errors = outcome(self._read, data)
        theirs, their_errors = outcome(self._theirs, data)
        assert our_errors == their_errors, data
        return theirs is not None and self._same(ours, theirs, data)

    def _same(self, ours: Any, theirs: Any, data: bytes) -> bool:
        assert told(ours) == told(theirs), data
        assert ours == theirs, data
        assert hashed(ours) == hashed(theirs), data
        written = theirs.__pydantic_serializer__.to_json(theirs)
        assert self._write(ours) == written, data
        assert self._write(theirs) == written, data
        return True


def taken(model: type[Event], drawn: Drawn, tries: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """For each field of ``model`` values that it takes, and those of them that the compiled core reads by itself."""
    sample = json.loads(BASES[model].model_dump_json())
    base = {name: json.dumps(value) for name, value in sample.items()}
    validate, plan = model.__pydantic_validator__.validate_json, plan_of(model)
    found: dict[str, list[str]] = {}
    common: dict[str, list[str]] = {}
    for name in model.model_fields:
        kept, short = found[name], common[name] = [base[name]] * 3, [base[name]] * 3
        for _ in range(tries):
            value = drawn.like(sample[name]) if isinstance(sample[name], (dict, list)) else drawn.any()
            text = "{" + ",".join(f'"{each}":{value if each == name else its}' for each, its in base.items()) + "}"
            data = text.encode("utf-8", "surrogatepass")
            try:
                validate(data)
            except ValidationError:
                continue
            kept.append(value)
            if plan is not None:
                before = plan.counts[0]
                plan.decode(data)
                if plan.counts[0] > before:
                    short.append(value)
    return found, common


def run(model: type[Event], payloads: int, seed: int, compare: Compared) -> Iterator[bool]:
    """Compare so many payloads of ``model``; says of each whether it was accepted."""
    drawn = Drawn(seed)
    fields, common = taken(model, drawn, min(2_000, payloads))
    return map(compare, islice(drawn.documents(fields, common), payloads))


@pytest.mark.parametrize("model", BASES, ids=lambda model: model.__name__)
def test_payloads_are_read_and_written_as_pydantic_does(model: type[Event]):
    accepted = sum(run(model, 250, 20210108, Compared(model)))
    assert 25 < accepted < 250


@pytest.mark.skipif(CORE is None, reason="of the compiled core")
@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_a_valid_payload_is_read_by_the_compiled_core_where_it_has_a_plan(event: Event):
    if (plan := plan_of(type(event))) is not None:
        before, left = plan.counts
        decoder(type(event))(encoder(type(event))(event))
        assert plan.counts == (before + 1, left)


@pytest.mark.parametrize("model", BASES, ids=lambda model: model.__name__)
def test_what_comes_again_and_again_is_read_anew_each_time(model: type[Event]):
    """The compiled core remembers values: in a row, in turns, left out, and after they have changed."""
    drawn, compare = Drawn(7), Compared(model)
    _, common = taken(model, drawn, 60)
    optional = {name for name, field in model.model_fields.items() if not field.is_required()}
    for row in (40, 1, 40, 2, 20):
        values = {name: drawn.random.choice(some) for name, some in common.items()}
        for number in range(row):
            for left_out in (set[str](), optional if number % 3 == 2 else set[str]()):
                text = ",".join(f'"{name}":{value}' for name, value in values.items() if name not in left_out)
                compare(b"{" + text.encode() + b"}")


def long_run(name: str, payloads: int, seed: int) -> str:
    """Compare many payloads of the model ``name``; says how many there were of which kind."""
    model = next(each for each in BASES if each.__name__ == name)
    began = time.process_time()
    compare = Compared(model, EACH_LEFT)
    accepted = sum(run(model, payloads, seed, compare))
    how = "served by the pure codec" if plan_of(model) is None else f"{compare.read:,} read by the core"
    seconds = time.process_time() - began
    return f"{name}: {payloads:,} payloads, {accepted:,} compared as valid; {how}; {seconds:.0f} s of CPU"


def main() -> None:
    """Compare many payloads of every registered model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payloads", type=int, default=1_000_000, help="of each model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="names of models")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="models at a time (one for each core)")
    options = parser.parse_args()
    print(f"{at_work()}, seed {options.seed}", flush=True)
    names = [model.__name__ for model in BASES if not options.only or model.__name__ in options.only]
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(long_run, name, options.payloads, options.seed) for name in names]
        try:
            for done in as_completed(runs):
                print(done.result(), flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
