"""Runs ``mts1b-deploy`` for tests without starting Python and importing everything anew each time.

``python -m mts1b_deploy.testing_zygote`` reads one request per line from standard input, forks, and lets the child be
the command: with the environment, directory, arguments and output files of the request, and its own exit code. What
differs from a real process is its name and half a second less.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_WARM = ("cli", "install", "plan", "status", "secured", "cluster", "backup", "upgrade", "doctor", "uninstall")
_WARM_BUS = ("connect", "consumers", "jetstream.apply_streams", "jetstream.durables")
_LONGEST = 300
"""Seconds after which a command counts as stuck and is killed."""


class Zygote:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, arguments: list[str], *, environ: dict[str, str], cwd: Path, scratch: Path
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; its output goes through files in ``scratch``."""
        out, err = scratch / "stdout", scratch / "stderr"
        request = {"argv": arguments, "environ": environ, "cwd": str(cwd), "out": str(out), "err": str(err)}
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the zygote has no pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _serve() -> None:
    for module in _WARM:
        import_module(f"mts1b_deploy.{module}")
    for module in _WARM_BUS:
        import_module(f"mts1b_platform.eventbus.{module}")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(request: dict[str, Any]) -> None:
    """Run the command in this process; never returns."""
    signal.alarm(_LONGEST)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path in ((1, request["out"]), (2, request["err"])):
        os.dup2(os.open(path, flags, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    sys.argv = ["mts1b-deploy", *request["argv"]]
    code = 1
    try:
        from mts1b_deploy.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a program
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # pyright: ignore[reportUnnecessaryComparison] - main() may have let go of it
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
