"""The action, the reusable workflow and the pre-commit hooks do in another repo what they promise."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BELLS = Path(__file__).parent / "registry" / "bells-repo"
SUBJECTS = "src/mts1b_bells/subjects.py"
BIN = Path(sys.executable).parent


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GIT_", "PRE_COMMIT"))
    }
    return subprocess.run(
        command,
        cwd=cwd,
        env={**plain, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def git(folder: Path, *arguments: str) -> None:
    result = run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments, cwd=folder)
    assert result.returncode == 0, result.stderr


def commit(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")


@pytest.fixture
def bells(tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(BELLS, tmp_path / "bells", ignore=shutil.ignore_patterns("__pycache__")))
    commit(copy)
    return copy


def break_schema(repo: Path) -> None:
    path = repo / SUBJECTS
    path.write_text(path.read_text().replace("    bell: Identifier", "    bell: Identifier | None"))


def check_step(repo: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the action's check step as the runner does, with its inputs in place of the expressions."""
    action = load(ROOT / "action.yml")
    given = {name: str(each["default"]) for name, each in action["inputs"].items()} | inputs
    (step,) = [step for step in action["runs"]["steps"] if step["name"] == "Check"]
    environment = {name: text.replace("${{ inputs.", "").replace(" }}", "") for name, text in step["env"].items()}
    filled = {name: given[value] for name, value in environment.items()}
    return run("bash", "-eo", "pipefail", "-c", step["run"], cwd=repo, GITHUB_ACTIONS="true", **filled)


def test_the_action_passes_a_sound_repo(bells: Path):
    result = check_step(bells)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_action_fails_a_broken_one_and_annotates_the_line(bells: Path):
    break_schema(bells)
    result = check_step(bells)
    assert result.returncode == 1
    assert f"::error file={SUBJECTS},line=" in result.stdout


def test_the_action_compares_with_the_revision_that_it_is_given(bells: Path):
    break_schema(bells)
    assert run("mts1b", "schemas", "write", "--unreleased", cwd=bells).returncode == 0
    assert check_step(bells).returncode == 0
    assert "changed since main" in check_step(bells, against="main").stdout


def test_the_action_installs_from_its_own_checkout():
    (install, _) = load(ROOT / "action.yml")["runs"]["steps"]
    for package in ("mts1b-foundation", "mts1b-platform"):
        assert f"$GITHUB_ACTION_PATH/packages/{package}" in install["run"]
        assert (ROOT / "packages" / package / "pyproject.toml").exists()


def test_the_workflow_hands_its_inputs_to_the_action():
    workflow = load(ROOT / ".github/workflows/registry.yml")
    call = workflow[True]["workflow_call"]["inputs"]  # YAML reads `on` as true
    steps = workflow["jobs"]["check"]["steps"]
    used = next(step for step in steps if step["uses"] == "./.mts1b-registry")
    fetched = next(step for step in steps if step.get("with", {}).get("path") == ".mts1b-registry")
    assert fetched["with"]["repository"] == "${{ inputs.registry }}"
    assert set(used["with"]) == set(load(ROOT / "action.yml")["inputs"])
    assert set(used["with"]) <= set(call)
    assert steps[0]["with"]["fetch-depth"] == 0


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """A repo that offers our hooks, as pre-commit would clone it."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", folder)
    commit(folder)
    return folder


def hook(repo: Path, hooks: Path, name: str) -> subprocess.CompletedProcess[str]:
    home = str(hooks.parent / "pre-commit-home")
    return run("pre-commit", "try-repo", hooks, name, "--all-files", "--verbose", cwd=repo, PRE_COMMIT_HOME=home)


def test_the_hook_stops_a_commit_that_breaks_the_registry(bells: Path, hooks: Path):
    passed = hook(bells, hooks, "mts1b-subjects-check")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    break_schema(bells)
    stopped = hook(bells, hooks, "mts1b-subjects-check")
    assert stopped.returncode == 1
    assert "schema-changed: mts1b_bells.subjects.Ring:v1" in stopped.stdout


def test_the_hook_renders_the_table(bells: Path, hooks: Path):
    (bells / "subjects.md").write_text("old\n")
    git(bells, "add", ".")
    assert hook(bells, hooks, "mts1b-subjects-render").returncode == 1  # pre-commit: a file was changed
    assert (bells / "subjects.md").read_text() == (BELLS / "subjects.md").read_text()
