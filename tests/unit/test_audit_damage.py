"""``audit verify`` names every place that is damaged, with file and line, and checks what follows it all the same."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.cli import run
from mts1b_platform.observability.audit import AuditError, AuditLog, search, verify

FILE = "mts1b-oms.1/000001.jsonl"
Lines = list[bytes]


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """The one file of a log of ten records."""
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        for number in range(10):
            audit.record("publish", number=number)
    return tmp_path / FILE


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """The files of a log of five records a file."""
    with AuditLog(tmp_path, "mts1b-oms", max_bytes=1_000) as audit:
        for number in range(25):
            audit.record("publish", number=number)
    return sorted(tmp_path.glob("*/*.jsonl"))


def records(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_bytes().splitlines()]


def fields(line: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(line), **changes}).encode() + b"\n"


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "cut in half": (lambda line: line[: len(line) // 2] + b"\n", 0),
    "garbage": (lambda _: bytes(range(256)).replace(b"\n", b"") + b"\n", 0),
    "zeros": (lambda line: b"\0" * (len(line) - 1) + b"\n", 0),
    "empty line": (lambda _: b"\n", 0),
    "twice": (lambda line: line + line, 1),
    "number is text": (lambda line: fields(line, n="five"), 0),
    "number is huge": (lambda line: line.replace(b'"n":5', b'"n":' + b"9" * 5_000), 0),
    "number is no integer": (lambda line: fields(line, n=5.5), 0),
    "hash is a list": (lambda line: fields(line, hash=[]), 0),
    "hash is no text": (lambda line: fields(line, hash="\ud800"), 0),
    "hash is null": (lambda line: fields(line, hash=None), 0),
    "previous hash is missing": (lambda line: fields(line, prev=None), 0),
    "no object": (lambda _: b"[1, 2]\n", 0),
    "nothing in it": (lambda _: b"{}\n", 0),
    "deep": (lambda _: b"[" * 100_000 + b"\n", 0),
    "longer than any record": (lambda _: b"x" * 3_000_000 + b"\n", 0),
    "another field": (lambda line: line.replace(b'"number":4', b'"number":9'), 0),
    "no text": (lambda line: line.replace(b"publish", b"publ\xff\xfe\xfd"), 0),
}


@pytest.mark.parametrize(("damage", "further"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_line_is_named_once_and_what_follows_is_checked(
    one: Path, tmp_path: Path, damage: Callable[[bytes], bytes], further: int, capsys: pytest.CaptureFixture[str]
):
    lines = one.read_bytes().splitlines(keepends=True)
    lines[8] = lines[8].replace(b'"number":8', b'"number":7')
    lines[4] = damage(lines[4])
    one.write_bytes(b"".join(lines))
    (chain,) = verify(tmp_path)
    assert [problem.split(": ")[0] for problem in chain.problems] == [f"{FILE}:{5 + further}", f"{FILE}:{9 + further}"]
    assert chain.torn == 0
    assert run(["audit", "verify", str(tmp_path)]) == 1
    assert "the audit log is not whole, 2 places:" in capsys.readouterr().err
    assert run(["audit", "search", str(tmp_path), "--kind", "publish"]) == 0


def test_a_record_that_was_lost_together_with_the_damaged_line_is_missed(one: Path, tmp_path: Path):
    lines = one.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4][:30]  # without its line feed, so that the next record is behind it
    one.write_bytes(b"".join(lines))
    assert verify(tmp_path)[0].problems == [
        f"{FILE}:5: not a whole record, and the next line does not account for it",
        f"{FILE}:6: record 6 expected, 7 found",
    ]


def test_the_listing_counts_and_names_the_damages_as_json_too(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = one.read_bytes().splitlines(keepends=True)
    one.write_bytes(b"".join([*lines[:4], b"garbage\n", *lines[5:]]))
    assert run(["audit", "verify", str(tmp_path), "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["records"], row["torn"], row["damaged"], row["whole"]) == (9, 0, 1, False)
    assert row["problems"] == [f"{FILE}:5: not a whole record, and the next line does not account for it"]


def test_a_missing_file_is_named_with_the_records_that_it_held(many: list[Path], tmp_path: Path):
    held = [*records(many[1]), *records(many[2])]
    many[1].unlink()
    many[2].unlink()
    (chain,) = verify(tmp_path)
    lost = f"with records {held[0]} to {held[-1]}"
    assert chain.problems == [f"mts1b-oms.1: 000002.jsonl to 000003.jsonl are missing, {lost}"]


def test_a_missing_file_is_named_also_when_the_next_one_begins_with_damage(many: list[Path], tmp_path: Path):
    many[1].unlink()
    many[2].write_bytes(many[2].read_bytes().replace(b"publish", b"pudding", 1))
    problems = verify(tmp_path)[0].problems
    assert problems[0] == "mts1b-oms.1: 000002.jsonl is missing"
    assert problems[1].startswith("mts1b-oms.1/000003.jsonl:1: altered")


def test_the_first_file_is_missed_too(many: list[Path], tmp_path: Path):
    many[0].unlink()
    (chain,) = verify(tmp_path)
    assert [problem.split(",")[0] for problem in chain.problems] == ["mts1b-oms.1: 000001.jsonl is missing"]


def test_a_chain_of_which_nothing_is_left_but_its_folder_is_named(many: list[Path], tmp_path: Path):
    for path in many:
        path.unlink()
    (chain,) = verify(tmp_path)
    assert chain.problems == ["mts1b-oms.1: all of its files are missing"]


def test_an_emptied_file_is_named_with_the_records_that_it_held(many: list[Path], tmp_path: Path):
    held = records(many[1])
    many[1].write_bytes(b"")
    (chain,) = verify(tmp_path)
    assert chain.problems == [f"mts1b-oms.1: 000002.jsonl is empty, with records {held[0]} to {held[-1]}"]


def test_a_file_that_was_just_begun_is_no_damage(many: list[Path], tmp_path: Path):
    (many[0].parent / f"{len(many) + 1:06}.jsonl").write_bytes(b"")
    assert not verify(tmp_path)[0].problems


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_checked(many: list[Path], tmp_path: Path):
    many[1].unlink()
    many[1].mkdir()
    many[3].write_bytes(many[3].read_bytes().replace(b"publish", b"pudding", 1))
    (chain,) = verify(tmp_path)
    assert [problem.split(",")[0] for problem in chain.problems] == [
        "mts1b-oms.1: 000002.jsonl cannot be read: Is a directory",
        "mts1b-oms.1/000004.jsonl:1: altered: the line does not have the hash that it says",
    ]
    with pytest.raises(AuditError, match=r"000002\.jsonl cannot be read: Is a directory"):
        list(search(tmp_path))


def test_files_that_change_places_are_named(many: list[Path], tmp_path: Path):
    first, second = many[1].read_bytes(), many[2].read_bytes()
    many[1].write_bytes(second)
    many[2].write_bytes(first)
    problems = verify(tmp_path)[0].problems
    assert problems[0].startswith("mts1b-oms.1/000002.jsonl:1: ")
    assert any(problem.startswith("mts1b-oms.1/000003.jsonl:1: ") for problem in problems)


def test_files_beyond_six_digits_are_read_in_their_order(tmp_path: Path):
    with AuditLog(tmp_path, "mts1b-oms", max_bytes=1) as audit:
        audit.record("publish", number=0)
    (tmp_path / FILE).rename(tmp_path / "mts1b-oms.1/999998.jsonl")
    for number in range(1, 4):
        with AuditLog(tmp_path, "mts1b-oms", max_bytes=1) as audit:
            audit.record("publish", number=number)
    assert [record["number"] for record in search(tmp_path)] == [0, 1, 2, 3]
    assert verify(tmp_path)[0].problems == ["mts1b-oms.1: 000001.jsonl to 999997.jsonl are missing"]


def test_damage_at_the_very_end_is_no_line_that_a_crash_cut_off(one: Path, tmp_path: Path):
    with one.open("ab") as file:
        file.write(b"\x00" * 100)
    (chain,) = verify(tmp_path)
    assert chain.problems == [f"{FILE}:11: not a whole record, and not the beginning of one"]


def test_a_writer_accounts_for_garbage_with_carriage_returns_at_the_end(one: Path, tmp_path: Path):
    with one.open("ab") as file:
        file.write(b"\x00\r\x00\r\n")
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        audit.record("publish", number=11)
    (chain,) = verify(tmp_path)
    assert (chain.problems, chain.torn) == ([], 1)


@given(st.data())
def test_no_damage_before_the_last_record_is_passed_over(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    folder = tmp_path_factory.getbasetemp() / "drawn"
    shutil.rmtree(folder, ignore_errors=True)
    with AuditLog(folder, "mts1b-oms", max_bytes=1_000) as audit:
        for number in range(15):
            audit.record("publish", number=number)
    path = data.draw(st.sampled_from(sorted(folder.glob("*/*.jsonl"))[:-1]))
    before = path.read_bytes()
    start = data.draw(st.integers(0, len(before) - 1))
    end = data.draw(st.integers(start, min(len(before), start + 400)))
    after = before[:start] + data.draw(st.binary(max_size=40)) + before[end:]
    path.write_bytes(after)
    (chain,) = verify(folder)
    assert bool(chain.problems) == (after != before)
    assert all(re.match(r"mts1b-oms\.1(/0000\d\d\.jsonl:\d+)?: ", problem) for problem in chain.problems)
    assert run(["audit", "verify", str(folder)]) == int(after != before)
