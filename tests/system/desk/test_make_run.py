"""``make run``: the command that a newcomer types first, and what it leaves behind."""

import json
import subprocess
from pathlib import Path

import pytest
from mts1b_deploy.testing import Machine

from .conftest import PATIENCE, make_quotes

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


def test_it_trades_a_file_on_a_server_under_its_prefix_and_leaves_the_users_settings_alone(machine: Machine):
    data, prefix = make_quotes(machine.home), machine.home / "var"
    words = [f"DATA={data}", "ARGS=--json", f"PREFIX={prefix}", f"PORT={machine.port}", "CONSOLE_PORT=0"]
    done = subprocess.run(
        ["make", "--silent", "run", *words, f"MONITOR_PORT={machine.monitor_port}"],  # noqa: S607 - the system's make
        cwd=ROOT,
        env=machine.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    try:
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["reconciled"] is True
        assert f"export MTS1B_CONFIG={prefix}/etc/mts1b.toml" in done.stderr
        assert "console: http://127.0.0.1:" in done.stderr
        assert not machine.user_config.exists()
        machine.deploy("status", code=4)
    finally:
        machine.deploy("uninstall", "--purge", "--prefix", str(prefix))
