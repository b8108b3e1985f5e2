"""A child process that does not outlive this one.

On Linux the kernel kills the child when the thread that made it ends (``PR_SET_PDEATHSIG``), so it is gone
even after ``kill -9`` of the parent. It is set by a program that then becomes the child, not by a function
run between fork and exec: that would be unsafe in a process with threads. Elsewhere the child is killed when
the interpreter ends normally.
"""

import atexit
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

# Stands in for setpriv where util-linux is missing (Alpine, say): 17 ms instead of 1 ms.
_STAND_IN = """
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGKILL = 1, 9
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, SIGKILL) != 0:
    sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""

_children: "weakref.WeakSet[subprocess.Popen[bytes]]" = weakref.WeakSet()


def spawn_child(
    command: Sequence[str], log_file: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``command``, its output appended to ``log_file``; call it on a thread that lives on.

    ``environment`` is added to that of this process.
    """
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            [*_prefix(), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment} if environment else None,
        )
    _children.add(child)
    return child


@lru_cache(maxsize=1)
def _prefix() -> tuple[str, ...]:
    """What to put before a command so that the kernel ends it together with its parent."""
    if not sys.platform.startswith("linux"):
        return ()
    setpriv = shutil.which("setpriv", path=os.defpath)
    if setpriv is not None:
        known = subprocess.run([setpriv, "--help"], capture_output=True, text=True, check=False)
        if "--pdeathsig" in known.stdout + known.stderr:
            return (setpriv, "--pdeathsig", "KILL")
    return (sys.executable, "-I", "-S", "-c", _STAND_IN)


@atexit.register
def _end_children() -> None:
    for child in list(_children):
        if child.poll() is None:
            child.kill()
            child.wait()
