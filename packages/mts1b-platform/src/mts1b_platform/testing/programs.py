"""Runs commands for tests in processes that are forked from one that has imported them.

Starting Python and importing a command takes about a second of processor time, a fork some milliseconds. What differs
from a real process is its name and that second. One fork server serves all tests of a process of pytest.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

__all__ = ["preload", "run_program"]

_LONGEST = 300
"""Seconds after which a command counts as stuck and is killed."""
_forking = multiprocessing.get_context("forkserver")
_modules = [__name__]
"""Loaded before any program: its runner is found in this module, and pytest is loaded with it."""


def preload(*modules: str) -> None:
    """Have the fork server import ``modules``; to be called before the first test runs."""
    _modules.extend(module for module in modules if module not in _modules)
    _forking.set_forkserver_preload(_modules)


def run_program(
    main: str, arguments: Sequence[str], *, environ: Mapping[str, str], cwd: Path, scratch: Path, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output goes through files in ``scratch``.

    Args:
        main: its entry point, as ``package.module:function``.
        arguments: its command line, beginning with the command's name.
        environ: its whole environment.
        cwd: its working directory.
        scratch: a directory for its input and output.
        stdin: what it reads from standard input.
    """
    given, out, err = files = scratch / "stdin", scratch / "stdout", scratch / "stderr"
    given.write_text(stdin)
    process = _forking.Process(target=_become, args=(main, list(arguments), dict(environ), cwd, files))
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return subprocess.CompletedProcess(list(arguments), -1 if code is None else code, out.read_text(), err.read_text())


def _become(main: str, arguments: list[str], environ: dict[str, str], cwd: Path, files: Sequence[Path]) -> None:
    """Be the command; the caller turns ``SystemExit`` into the exit code, and shows any other exception."""
    signal.alarm(_LONGEST)
    for number, path in enumerate(files):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has opened the null device in its place
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    sys.argv = arguments
    sys.modules["__main__"] = ModuleType("__main__")  # not that of pytest, which this process's children would import
    module, _, function = main.partition(":")
    getattr(import_module(module), function)()
