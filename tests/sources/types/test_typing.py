"""What the types of the bus refuse: pyright and mypy, both strict, each find every wrong use and no right one."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("wrong_uses.py")
ROOT = FILE.parents[3]
CACHE = ROOT / ".mypy_cache" / "typing"


def wrong_statements() -> dict[int, tuple[str, range]]:
    """By the line of its comment, why each wrong statement is wrong, and its lines."""
    source = FILE.read_text()
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    found: dict[int, tuple[str, range]] = {}
    for number, line in enumerate(source.splitlines(), 1):
        if match := re.fullmatch(r"\s*# wrong: (.+)", line):
            below = next(node for node in statements if node.lineno == number + 1)
            found[number] = (match[1], range(below.lineno, (below.end_lineno or below.lineno) + 1))
    return found


def pyright() -> set[int]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "-p", str(FILE.with_name("pyright.json"))]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert ran.stdout.startswith("{"), ran.stdout + ran.stderr
    found = json.loads(ran.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"}


def mypy(cwd: Path) -> set[int]:
    """In a folder without settings of mypy; what it has read of the packages it keeps from run to run."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(CACHE), str(FILE)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environ(), timeout=300, check=False)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    others = [line for line in ran.stdout.splitlines() if not re.match(rf"{re.escape(str(FILE))}:\d+: ", line)]
    assert not [line for line in others if ": error: " in line], "the packages' own types"
    return {int(line) for line in re.findall(rf"^{re.escape(str(FILE))}:(\d+): error: ", ran.stdout, re.MULTILINE)}


def environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MYPY")}


def unlike(found: Iterable[int]) -> list[str]:
    """Wrong statements in which nothing was found, and lines on which something was found that are right."""
    wrong, lines = wrong_statements(), set(found)
    missed = [f"{FILE.name}:{at}: not found: {why}" for at, (why, where) in wrong.items() if not lines & set(where)]
    meant = {line for _, where in wrong.values() for line in where}
    return [*missed, *(f"{FILE.name}:{line}: an error where nothing is wrong" for line in sorted(lines - meant))]


@pytest.mark.slow(seconds=10)
def test_pyright_finds_every_wrong_use_and_nothing_else():
    assert unlike(pyright()) == []


@pytest.mark.slow(seconds=12)
def test_mypy_finds_every_wrong_use_and_nothing_else(tmp_path: Path):
    assert unlike(mypy(tmp_path)) == []


def test_the_file_holds_wrong_uses_of_each_way_in():
    source = FILE.read_text().splitlines()
    statements = [source[where.start - 1] for _, where in wrong_statements().values()]
    for way in ("service.consumes(", "service.listens(", "service.every(", "bus.consume(", "bus.listen(", "bus.emit("):
        assert sum(way in each for each in statements) >= 2, way
