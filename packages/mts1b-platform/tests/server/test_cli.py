"""The command line: nouns are found, loaded alone, and fail in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mts1b_platform.cli import nouns, run


def install(folder: Path, name: str, code: str, entry: str) -> None:
    (folder / f"{name}.py").write_text(code)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[mts1b.commands]\n{entry}\n")


CONTRIBUTED = '''"""Counts sheep."""

from mts1b_foundation.errors import UnknownSubject
from mts1b_platform.output import Json, noun, print_listing

app = noun(__doc__)


@app.command("ls")
def ls(*, as_json: Json = False) -> None:
    """List sheep."""
    print_listing([{"sheep": "dolly", "age": None, "woolly": True, "friends": ["a", "b"]}], as_json=as_json)


@app.command("lose")
def lose() -> None:
    """Lose one."""
    raise UnknownSubject("no sheep: count again")
'''


@pytest.fixture
def sheep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, "sheepfold", CONTRIBUTED, "sheep = sheepfold:app")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def test_help_lists_every_noun_with_its_line(capsys: pytest.CaptureFixture[str]):
    assert run(["--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(f"{noun} {line}" in out for noun, line in nouns().items())
    assert all(nouns().values())


def test_help_loads_neither_nouns_nor_what_they_stand_on():
    code = (
        "import sys; from mts1b_platform.cli import run; run(['--help']);"
        "heavy = {'nats', 'pydantic', 'rich', 'asyncio', 'mts1b_platform.eventbus', 'mts1b_operations'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "offered"),
    [("mts1b str", ["streams"]), ("mts1b streams ap", ["apply"]), ("mts1b lag --beh", ["--behind"])],
)
def test_the_shell_completes_nouns_verbs_and_options(line: str, offered: list[str]):
    command = Path(sys.executable).parent / "mts1b"
    asked = {"_MTS1B_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    result = subprocess.run([command], env=os.environ | asked, capture_output=True, text=True, check=True)
    assert result.stdout.split() == offered


def test_help_of_a_noun_is_asked_for_in_both_ways(capsys: pytest.CaptureFixture[str]):
    assert run(["help", "streams"]) == run(["streams", "-h"]) == 0
    first, second = capsys.readouterr().out.split("Usage: mts1b streams")[1:]
    assert first == second


def test_a_noun_alone_is_a_misuse_that_shows_its_verbs(capsys: pytest.CaptureFixture[str]):
    assert run([]) == run(["streams"]) == 2
    assert "Say what `apply` would change, field by field" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("sheep")
def test_a_package_contributes_a_noun(capsys: pytest.CaptureFixture[str]):
    assert nouns()["sheep"] == "Counts sheep."
    assert run(["sheep", "ls"]) == 0
    assert capsys.readouterr().out == "SHEEP  AGE  WOOLLY  FRIENDS\ndolly  -    yes     a, b\n"


@pytest.mark.usefixtures("sheep")
def test_a_listing_is_json_when_asked(capsys: pytest.CaptureFixture[str]):
    assert run(["sheep", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"sheep": "dolly", "age": None, "woolly": True, "friends": ["a", "b"]}
    ]


@pytest.mark.usefixtures("sheep")
def test_an_error_of_the_project_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]):
    assert run(["sheep", "lose"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "mts1b: no sheep: count again\n"


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_full_disk_is_one_line(unbuffered: str):
    command = [Path(sys.executable).parent / "mts1b", "schemas", "ls"]
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb", buffering=0) as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (1, "mts1b: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_has_gone_is_no_error_to_speak_of(unbuffered: str):
    reading, writing = os.pipe()
    os.close(reading)
    command = [Path(sys.executable).parent / "mts1b", "schemas", "ls"]
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=environ)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_unknown_noun_is_refused_and_the_nearest_is_named(capsys: pytest.CaptureFixture[str]):
    assert run(["steams", "ls"]) == 2
    assert "No such command 'steams'. Did you mean 'streams'" in capsys.readouterr().err


def test_an_unknown_verb_is_refused(capsys: pytest.CaptureFixture[str]):
    assert run(["subjects", "shear"]) == 2
    assert "shear" in capsys.readouterr().err


def test_a_contribution_that_does_not_load_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    install(tmp_path, "brokenfold", "app = None.missing\n", "ruin = brokenfold:app")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert run(["ruin", "ls"]) == 2
    assert "contributed by brokenfold" in capsys.readouterr().err


def test_the_installed_command_works():
    command = Path(sys.executable).parent / "mts1b"
    result = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("mts1b ")
