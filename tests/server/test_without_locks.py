"""The client side of the bus where the system has no locks on files, as on Windows: everything is imported anew."""

import subprocess
import sys

CLIENT = """
import sys
sys.modules["fcntl"] = None
import mts1b_platform.eventbus as eventbus
for name in eventbus.__all__:
    getattr(eventbus, name)
import mts1b_platform.service, mts1b_platform.config, mts1b_platform.cli, mts1b_foundation.subjects
import mts1b_platform.eventbus.dedupe.sqlite, mts1b_platform.eventbus.outbox.sqlite
"""
INSTALL = """
import sys
sys.modules["fcntl"] = None
from mts1b_deploy.cli import main
sys.argv = ["mts1b-deploy", "install", "--prefix", sys.argv[1]]
main()
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_client_side_is_imported():
    done = run(CLIENT)
    assert done.returncode == 0, done.stderr


def test_the_installer_says_that_it_does_not_work_there(tmp_path: object):
    done = run(INSTALL, f"{tmp_path}/prefix")
    assert done.returncode == 1
    assert "mts1b-deploy: this needs Linux or macOS" in done.stderr
    assert "Traceback" not in done.stderr
