"""``pytest --workers``: what becomes of tests that pass, fail, or end the process that runs them."""

import os
import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).parents[1] / "plugins"
ONE = """
import os, warnings
import pytest

@pytest.fixture(scope="module")
def shared():
    with open("made", "a") as file:
        file.write(f"{os.getpid()}\\n")
    yield

@pytest.fixture
def breaks():
    yield
    raise ValueError("in teardown")

def test_passes(shared): pass
def test_fails(shared):
    print("printed")
    assert 1 == 2
def test_ends_its_process(shared): os._exit(3)
def test_comes_after_it(shared, capfd):
    os.system("echo written")
    assert capfd.readouterr().out == "written\\n"
@pytest.mark.skip(reason="so")
def test_is_skipped(): pass
@pytest.mark.xfail
def test_is_expected_to_fail(): assert 0
def test_warns(): warnings.warn(UserWarning("mind"))
def test_breaks(breaks): pass
"""
OTHER = """
import os, signal

def test_is_killed(): os.kill(os.getpid(), signal.SIGKILL)
def test_is_the_last(): pass
"""


def test_everything_is_reported_once_and_by_name(tmp_path: Path):
    (tmp_path / "test_one.py").write_text(ONE)
    for number in range(3):
        (tmp_path / f"test_other_{number}.py").write_text(OTHER)
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "pytest", "-p", "forked_workers", "--workers", "2", "-rA", "-c", os.devnull, "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    for line in (
        "PASSED test_one.py::test_passes",
        "FAILED test_one.py::test_fails - assert 1 == 2",
        "FAILED test_one.py::test_ends_its_process - the worker that ran it ended with code 3",
        "PASSED test_one.py::test_comes_after_it",
        "SKIPPED [1] test_one.py:24: so",
        "XFAIL test_one.py::test_is_expected_to_fail",
        "PASSED test_one.py::test_breaks",
        "ERROR test_one.py::test_breaks - ValueError: in teardown",
        *(
            f"FAILED test_other_{n}.py::test_is_killed - the worker that ran it was killed by signal 9"
            for n in range(3)
        ),
        *(f"PASSED test_other_{n}.py::test_is_the_last" for n in range(3)),
    ):
        assert done.stdout.count(f"{line}\n") == 1, f"{line} in {done.stdout}"
    assert "UserWarning: mind" in done.stdout
    assert "printed" in done.stdout
    assert "5 failed, 7 passed, 1 skipped, 1 xfailed, 1 warning, 1 error" in done.stdout
    assert len(set((tmp_path / "made").read_text().split())) == 2  # once in each process that ran its tests
