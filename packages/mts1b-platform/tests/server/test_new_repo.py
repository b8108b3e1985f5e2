"""What `mts1b new` writes and refuses; that what it writes works is shown in tests/machine/test_second_team.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def mts1b(*arguments: str, cwd: Path, code: int = 0) -> str:
    """What the command says; its errors when it is to fail."""
    command = [sys.executable, "-m", "mts1b_platform", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


@pytest.mark.slow(seconds=4)
def test_a_name_of_two_words_gives_a_repo_that_is_sound_and_formatted(tmp_path: Path):
    made = json.loads(mts1b("new", "fill-audit", "--json", cwd=tmp_path))
    repo = tmp_path / "mts1b-fill-audit"
    assert (made["repo"], made["folder"]) == ("mts1b-fill-audit", str(repo))
    assert sorted(made["files"]) == sorted(str(each.relative_to(repo)) for each in repo.rglob("*") if each.is_file())
    assert not [each for each in repo.rglob("*") if each.is_file() and "@@" in each.read_text()]
    assert "nothing to object to" in mts1b("subjects", "check", cwd=repo)
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--quiet", "."], cwd=repo, check=True, timeout=60)
    subprocess.run([*ruff, "format", "--check", "--quiet", "."], cwd=repo, check=True, timeout=60)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("oms", "oms would claim mts.*.oms.>, which is mts1b-oms's"),
        ("Alpha!", "'Alpha!' is no name of a repo"),
        ("a" * 31, "30 of them at most"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(name: str, words: str, tmp_path: Path):
    assert words in mts1b("new", name, cwd=tmp_path, code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path: Path):
    (tmp_path / "mts1b-alpha").mkdir()
    assert "exists: move it away" in mts1b("new", "mts1b-alpha", cwd=tmp_path, code=1)
    assert list((tmp_path / "mts1b-alpha").iterdir()) == []
