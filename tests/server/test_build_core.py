"""Building the compiled core where it cannot be built: one line, pure Python, exit 0; an error where it is required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "build-core.sh"


def build(tmp_path: Path, programs: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only these stand before the system's own programs."""
    for name, text in programs.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MTS1B_")}
    kept |= {"PATH": f"{tmp_path}:/usr/bin:/bin", **environment}
    return subprocess.run(
        [SCRIPT, "false", tmp_path / "bin" / "python"], capture_output=True, text=True, env=kept, check=False
    )


OLD = {"cargo": "exit 0", "rustc": "echo 'rustc 1.60.0 (old)'"}
NEW = {"cargo": "exit 0", "rustc": "echo 'rustc 9.9.9 (new)'"}
NONE = {"rustc": "exit 1", "cargo": "exit 1"}


@pytest.mark.parametrize(
    ("programs", "why"), [(OLD, "Rust 1.60.0 is too old"), (NEW, "the build failed"), (NONE, "rustc does not run")]
)
def test_what_cannot_be_built_leaves_pure_python(tmp_path: Path, programs: dict[str, str], why: str):
    done = build(tmp_path, programs)
    assert done.returncode == 0
    assert done.stdout == ""
    assert [*done.stderr.splitlines()] == [line for line in done.stderr.splitlines() if why in line]
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / ".without-core").exists()


@pytest.mark.parametrize("without", [False, True])
def test_setup_tries_again_where_the_core_could_not_be_built(tmp_path: Path, without: bool):
    for name in ("uv.lock", "pyproject.toml", "scripts/build-core.sh", ".venv/.ready"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.utime(tmp_path / ".venv" / ".ready", (2**31, 2**31))
    if without:
        (tmp_path / ".venv" / ".without-core").touch()
    kept = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
    for target, again in (("setup", without), ("lint", False)):
        command = ["make", "-n", "-C", tmp_path, "-f", ROOT / "Makefile", f"UV={sys.executable}", target]
        done = subprocess.run(command, capture_output=True, text=True, env=kept, check=True)
        assert ("scripts/build-core.sh" in done.stdout) is again


def test_where_it_is_required_that_is_an_error(tmp_path: Path):
    done = build(tmp_path, OLD, MTS1B_CORE="required")
    assert done.returncode == 1
    assert "required" in done.stderr


def test_where_it_is_switched_off_it_is_not_built(tmp_path: Path):
    done = build(tmp_path, NEW, MTS1B_PURE="1")
    assert (done.returncode, "MTS1B_PURE=1" in done.stderr) == (0, True)


def test_make_names_the_interpreter_itself_not_a_shim_that_leads_to_it(tmp_path: Path):
    """An environment made with one path is not made anew, without the compiled core, as another path leads there."""
    shim = tmp_path / "python3"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "MAKELEVEL"}}
    kept["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["make", "-n", "fuzz"], capture_output=True, text=True, env=kept, cwd=ROOT, check=True)  # noqa: S607
    assert f'--python "{os.path.realpath(sys.executable)}"' in done.stdout
