"""How Prometheus finds the endpoints: a file each in one directory, in the format of its file discovery.

``<service>-<pid>.json`` is written when the endpoint opens and removed when it closes. What a killed process left is
removed by the next process of the same service on the machine; until then its target shows ``up == 0``, as it should.
"""

import json
import os
from pathlib import Path

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.whole_file import write_whole


class DiscoveryError(Mts1bError):
    """The endpoint cannot be announced."""


def announce(directory: Path, service: str, address: str) -> Path:
    """Write the file for this process and return its path.

    Raises:
        DiscoveryError: the directory cannot be written to.
    """
    path = directory / f"{service}-{os.getpid()}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory, service)
        announced = json.dumps([{"targets": [address], "labels": {"service": service}}]) + "\n"
        write_whole(path, announced.encode(), 0o644, sync=False)
    except OSError as error:
        raise DiscoveryError(
            f"the metrics endpoint {address} cannot be announced in {path}: {error.strerror}; make the directory "
            "writable, or name another with MTS1B_METRICS_DIR"
        ) from error
    return path


def _sweep(directory: Path, service: str) -> None:
    for path in directory.glob(f"{service}-*.json"):
        pid = path.stem.removeprefix(f"{service}-")
        if pid.isdigit() and not _runs(int(pid)):
            path.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
