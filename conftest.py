"""For all tests: what a run needs to end, whatever its tests did.

- Children answer to Ctrl-C although the tests themselves run in the background, where it is ignored.
- A process whose failed test is never torn down, or a run that is over and does not end, because a thread still waits,
  say, shows what every thread does and ends. A worker's other tests go to another one.
- A machine that stands still for a while fails no property test.

And what it needs to be quick: a test in a room ``unit`` that starts a program, or connects to or listens at anything,
fails.

And what it needs to end soon: workers are forked from the process that has collected the tests, the tests marked
``chaos`` run with ``--chaos`` only, which runs no others, what tests write lies in memory, and the garbage collector
passes over what was there before the first test.
"""

import faulthandler
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn

import forked_workers
import psutil
import pytest
from hypothesis import HealthCheck, settings

_LAST_WORDS = 60.0
"""Seconds for the teardown of a failed test, and from the last test to the end of the process."""

_STARTS = (
    (subprocess.Popen, "__init__"),
    (os, "fork"),
    (os, "posix_spawn"),
    (socket.socket, "bind"),
    (socket.socket, "connect"),
    (socket.socket, "connect_ex"),
)
"""How a test gets at something outside its process."""

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory
_ROOM = 4 << 30
"""Bytes that must be free there, and as many again for the tests themselves."""


def _write_into_memory() -> None:
    """Choose memory for temporary files, unless ``TMPDIR`` says where they go.

    A server makes its streams in a quarter of the processor time that it takes on a disk, and there are two thousand
    servers. What a disk does that memory does not, the cut of its power and that it is full, is tested on file systems
    made for that.
    """
    if "TMPDIR" in os.environ or not os.access(_IN_MEMORY, os.W_OK):
        return
    there = os.statvfs(_IN_MEMORY)
    runs_programs = not there.f_flag & getattr(os, "ST_NOEXEC", 0)
    if runs_programs and min(there.f_bavail * there.f_frsize, psutil.virtual_memory().available // 2) >= _ROOM:
        os.environ["TMPDIR"] = str(_IN_MEMORY)
        tempfile.tempdir = None  # it was asked for already


_write_into_memory()

gc.disable()  # until all is collected: nothing of that goes away again

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep the unit rooms what they are, fixtures of every scope included."""
    with pytest.MonkeyPatch.context() as patch:
        if "unit" in item.path.relative_to(item.config.rootpath).parts:
            for owner, name in _STARTS:
                patch.setattr(owner, name, _refuse)
        return (yield)


def _refuse(*_: object, **__: object) -> NoReturn:
    pytest.fail("a test in a unit room starts no program and opens no connection: move it to the room `server`")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Tests that take minutes are asked for, and so are workers, by ``--workers``."""
    parser.addoption("--chaos", action="store_true", help="run the tests that take minutes, and only those")
    pluginmanager.register(forked_workers)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose between chaos and the rest."""
    chosen = {item: bool(item.get_closest_marker("chaos")) == config.getoption("chaos") for item in items}
    config.hook.pytest_deselected(items=[item for item, mine in chosen.items() if not mine])
    items[:] = [item for item, mine in chosen.items() if mine]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Three quarters of a million objects stay to the end: a collection need not look at them each time."""
    gc.freeze()
    gc.enable()


def _end_in_time() -> None:
    faulthandler.dump_traceback_later(_LAST_WORDS, exit=True, file=sys.__stderr__ or sys.stderr)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact() -> None:
    """Pytest has just called off ``faulthandler_timeout`` of this test; it does so again when the test is over."""
    _end_in_time()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """When pytest has deleted the directories of earlier runs, which may take its time.

    Not in a worker of xdist: one that has nothing left to do waits for the others, and is ended with them.
    """
    if getattr(session.config, "workerinput", {"forked": True}).get("forked"):
        _end_in_time()
