"""For all tests: what a run needs to end, whatever its tests did.

- Children answer to Ctrl-C although the tests themselves run in the background, where it is ignored.
- A process whose failed test is never torn down, or a run that is over and does not end, because a thread still waits,
  say, shows what every thread does and ends. A worker's other tests go to another one.
- A machine that stands still for a while fails no property test.

And what it needs to be quick: a test in a room ``unit`` that starts a program, or connects to or listens at anything,
fails.

And what it needs to end soon: every worker begins with its part of the slow tests, and the tests marked ``chaos`` run
with ``--chaos`` only, which runs no others.
"""

import faulthandler
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from itertools import groupby, islice
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

_LAST_WORDS = 60.0
"""Seconds for the teardown of a failed test, and from the last test to the end of the process."""

_SLOW = 3.0
"""Seconds from which a test should be marked slow."""

_STARTS = (
    (subprocess.Popen, "__init__"),
    (os, "fork"),
    (os, "posix_spawn"),
    (socket.socket, "bind"),
    (socket.socket, "connect"),
    (socket.socket, "connect_ex"),
)
"""How a test gets at something outside its process."""

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that take minutes are asked for."""
    parser.addoption("--chaos", action="store_true", help="run the tests that take minutes, and only those")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose between chaos and the rest, and deal the slow tests out.

    The scheduler gives the workers equal parts of the list, one behind the other: each part begins with slow tests.
    """
    chosen = {item: bool(item.get_closest_marker("chaos")) == config.getoption("chaos") for item in items}
    config.hook.pytest_deselected(items=[item for item, mine in chosen.items() if not mine])
    items[:] = [item for item, mine in chosen.items() if mine]
    workers: int = getattr(config, "workerinput", {}).get("workercount", 0)
    if workers:
        items[:] = _dealt(items, workers)


def _dealt(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The slow tests first in every worker's part, those of a module together: they may share what they look at."""
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    slow = (item for item in items if item.get_closest_marker("slow"))
    modules = [list(group) for _, group in groupby(slow, key=lambda item: item.path)]
    for module in sorted(modules, key=_seconds, reverse=True):
        min(parts, key=_seconds).extend(module)
    rest = iter([item for item in items if not item.get_closest_marker("slow")])
    dealt: list[pytest.Item] = []
    for number, part in enumerate(parts):
        size = (len(items) - len(dealt)) // (workers - number)
        dealt += [*part, *islice(rest, max(0, size - len(part)))]
    return dealt


def _seconds(items: list[pytest.Item]) -> float:
    """About how long slow tests take, by their markers."""
    markers = [marker for item in items if (marker := item.get_closest_marker("slow")) is not None]
    return sum(marker.kwargs.get("seconds", _SLOW) for marker in markers)


def _end_in_time() -> None:
    faulthandler.dump_traceback_later(_LAST_WORDS, exit=True, file=sys.__stderr__ or sys.stderr)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact() -> None:
    """Pytest has just called off ``faulthandler_timeout`` of this test; it does so again when the test is over."""
    _end_in_time()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """When pytest has deleted the directories of earlier runs, which may take its time.

    Not in a worker: one that has nothing left to do waits for the others, and is ended with them.
    """
    if not hasattr(session.config, "workerinput"):
        _end_in_time()
