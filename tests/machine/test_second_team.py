"""Another team on the bus: a repo made by `mts1b new`, built, installed beside our wheels, checked, deployed, at work.

Nothing of it sees a checkout of this project: the environment holds wheels, and every command is run from there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mts1b_deploy.testing import Machine
from mts1b_platform.testing.ports import free_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0

OMS = """
from mts1b_foundation.samples import FILL_V2
from mts1b_foundation.subjects import OMS_FILLS_CREATED_V2
from mts1b_platform.service import Service

service = Service("mts1b-oms")

@service.on_start
async def publish():
    for number, symbol in enumerate(("BTC/USDT", "BRK.B")):
        fill = FILL_V2.model_copy(update={"fill_id": f"fill-{number}", "symbol": symbol})
        await service.bus.emit(OMS_FILLS_CREATED_V2, fill)

service.run()
"""
"""Publishes two fills, and stays to publish again what the operations ask for."""


def uv() -> str:
    """What the Makefile installs with."""
    found = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    assert Path(found).exists(), "uv is needed: `make setup` fetches it into .tools"
    return found


@dataclass
class Team:
    """An environment of wheels, and the team's repo."""

    env: Path
    repo: Path

    def run(
        self, *command: str, environ: dict[str, str] | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment."""
        done = subprocess.run(
            command, cwd=self.repo if self.repo.exists() else self.repo.parent, capture_output=True, text=True,
            env=environ or self.environ({}), timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def environ(self, base: dict[str, str]) -> dict[str, str]:
        """An environment in which the commands are found, and nothing of ours."""
        kept = {name: value for name, value in (base or dict(os.environ)).items() if name != "PYTHONPATH"}
        apart = (
            "MTS1B_",
            "PYTEST_",
            "PYTHONDONTWRITEBYTECODE",
        )  # without bytecode every process compiles all it imports
        kept = {name: value for name, value in kept.items() if not name.startswith(apart)}
        path = [str(self.env / "bin"), *os.environ["PATH"].split(os.pathsep)]
        ours = str(ROOT / ".venv" / "bin")
        return kept | {"PATH": os.pathsep.join(part for part in path if part != ours), "MTS1B_CONNECT_TIMEOUT": "30"}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    folder = tmp_path_factory.mktemp("second-team")
    wheels, made = folder / "wheels", Team(folder / "env", folder / "mts1b-alpha")

    def tool(*arguments: str, cwd: Path = ROOT) -> None:
        quiet = subprocess.run(
            [uv(), *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(made.env), "UV_SYSTEM_CERTS": "1"},
        )  # fmt: skip
        assert quiet.returncode == 0, quiet.stderr

    python = ["--python", str(made.env / "bin" / "python")]
    tool("build", "--all-packages", "--wheel", "--out-dir", str(wheels))
    tool("sync", "--locked", "--no-install-workspace", "--all-packages", "--no-default-groups", "--group", "new-repo",
         "--python", sys.executable)  # fmt: skip
    tool("pip", "install", "--no-deps", *python, *map(str, sorted(wheels.glob("*.whl"))))
    tool("pip", "check", *python)
    made.run("mts1b", "new", "alpha")
    tool("pip", "install", "--no-deps", *python, "--editable", str(made.repo))
    (made.env / ".ready").touch()
    made.run("make", "check", f"VENV={made.env}", environ={**made.environ({}), "HOME": str(folder)})
    tool("build", "--wheel", "--out-dir", str(wheels), cwd=made.repo)
    tool("pip", "uninstall", *python, "mts1b-alpha")
    tool("pip", "install", "--no-deps", *python, str(next(wheels.glob("mts1b_alpha-*.whl"))))
    tool("pip", "check", *python)
    assert "notes the value of every fill" in made.run("mts1b-alpha", "--help").stdout
    shutil.rmtree(made.repo)
    return made


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def wait_for(condition: Callable[[], object], why: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.05)


def metric(port: int, name: str, subject: str) -> float:
    """The sum of a metric's series of a subject."""
    lines = [line for line in ask(port, "/metrics")[1].splitlines() if line.startswith(f"{name}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'subject="{subject}"' in line)


@contextmanager
def process(*command: str, environ: dict[str, str], log: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    with log.open("ab") as out:
        running = subprocess.Popen(command, env=environ, cwd=log.parent, stdout=out, stderr=out)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()


def test_the_console_serves_each_of_its_files_from_the_wheel_and_fetches_none_from_elsewhere(team: Team):
    said = json.loads(team.run("mts1b", "console", "check", "--json").stdout)
    assert {row["file"] for row in said["files"]} >= {"index.html", "app.js", "app.css", "icon.svg", "LICENSES.txt"}
    assert said["problems"] == []


@pytest.mark.parametrize("profile", ["minimal", "single"])
def test_a_new_repo_is_deployed_and_at_work(profile: str, team: Team, machine: Machine):
    home, (port,) = machine.home, free_ports(1)
    environ = team.environ(machine.environ)
    log = home / "alpha.log"
    fills, notes = "mts.v2.oms.fills.created", "mts.v1.alpha.trades.noted"

    def mts1b(*arguments: str) -> Any:
        return json.loads(team.run("mts1b", *arguments, "--json", environ=environ).stdout)

    ports = ["--port", str(machine.port), "--monitor-port", str(machine.monitor_port)]
    further = ["--websocket-port", "0"] if profile == "single" else []
    installed = team.run("mts1b-deploy", "install", "--profile", profile, *ports, *further, "--json", environ=environ)
    assert "ALPHA_TRADES" in installed.stdout
    if profile == "single":
        assert "mts1b-alpha" in json.loads(installed.stdout)["certificates"]

    held = environ | {"ALPHA_HELD": "BRK.B", "MTS1B_METRICS_PORT": str(port)}
    with process("python", "-c", OMS, environ=environ, log=home / "oms.log"):
        with process("mts1b-alpha", environ=held, log=log) as alpha:
            wait_for(lambda: ask(port, "/readyz")[0] == 200, lambda: f"{ask(port, '/readyz')}\n{log.read_text()}")
            wait_for(lambda: metric(port, "nats_consume_total", fills) == 1, log.read_text)
            wait_for(lambda: metric(port, "nats_deadletters_total", fills) == 1, log.read_text)
            assert metric(port, "nats_publish_total", notes) == 1
            alpha.send_signal(signal.SIGTERM)
            assert alpha.wait(PATIENCE) == 0, log.read_text()
        assert '"event": "drained"' in log.read_text()

        (letter,) = mts1b("deadletters", "ls")
        assert "BRK.B is held" in json.dumps(letter)
        with process("mts1b-alpha", environ=environ | {"MTS1B_METRICS_PORT": str(port)}, log=log):
            wait_for(lambda: ask(port, "/readyz")[0] == 200, log.read_text)
            mts1b("deadletters", "requeue", "--all", "--why", "BRK.B is held no more")
            wait_for(lambda: metric(port, "nats_publish_total", notes) == 1, log.read_text)
            assert mts1b("deadletters", "ls") == []
        found = json.dumps(mts1b("events", "find", "subject:alpha.trades.noted"))
        assert "fill-0" in found
        assert "fill-1" in found
    team.run("mts1b-deploy", "doctor", environ=environ)
    team.run("mts1b-deploy", "uninstall", "--purge", environ=environ)
