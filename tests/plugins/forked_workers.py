"""Runs tests in processes that are forked from the one that has collected them: ``pytest --workers 6``.

To import and to collect all tests takes more than five seconds of processor time. It is done once, not once a worker.

Each worker has a part of the tests, slow modules first, and takes it in pieces, of one module each; one that has
nothing left takes from the end of the longest part. It asks for its next piece before the last test of one, so that
fixtures of a session live on from piece to piece. What pytest says of the run is said by the process that was started.

A worker that ends in the midst of a test fails that test, by name, and another one goes on with the rest.
"""

import os
import random
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, Literal

import pytest

SLOW = 3.0
"""Seconds from which a test should be marked slow."""
_PIECE = 25
"""Tests, at most, that are taken at a time; slow ones of a module may share what they look at, and stay together."""

_Piece = Sequence[int]
"""Tests by their places among those collected."""
_Heard = tuple[str, Any]
"""The name of one of pytest's hooks that report, and what it is called with."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Workers are asked for."""
    parser.addoption("--workers", type=int, default=0, help="run the tests in so many processes forked from this one")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Literal[True] | None:
    """Deal the tests out, or in a worker run them; leave it to pytest where there are no workers or no tests to run."""
    workers: int = session.config.getoption("workers") or 0
    if workers < 1 or session.config.getoption("collectonly") or session.testsfailed:
        return None
    run = _Run(session, workers)
    if connection := run.carry_out():
        _Worker(session, connection).work()
    return True


@dataclass(eq=False, slots=True)
class _Child:
    """A worker, as the process sees it that forked it."""

    number: int
    pid: int
    connection: Connection
    given: deque[int] = field(default_factory=deque[int])
    """What it has not reported yet; it is at the first of them."""
    failed: bool = False
    """Whether it has reported a failure."""


class _Run:
    """Forks workers, gives them tests, and reports for them.

    Args:
        session: with the tests that were collected.
        workers: how many run at a time.
    """

    def __init__(self, session: pytest.Session, workers: int) -> None:
        self._session = session
        self._parts = dealt(session.items, workers)
        self._children: list[_Child] = []

    def carry_out(self) -> Connection | None:
        """Return when all tests are done; in a worker at once, with its connection.

        Raises:
            Failed: pytest was asked to end after so many failures.
            RuntimeError: a worker ended badly after its last test.
        """
        try:
            for number, part in enumerate(self._parts):
                if part and (connection := self._fork(number)):
                    return connection
            while self._children:
                known = {child.connection: child for child in self._children}
                for ready in wait(list(known)):
                    child = known[ready]  # pyright: ignore[reportArgumentType] - one of those given
                    if not self._hear(child) and (connection := self._fork(child.number)):
                        return connection
                    self._end_when_told()
        except BaseException:
            self._wait_for_the_rest()
            raise
        return None

    def _fork(self, number: int) -> Connection | None:
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            theirs.close()
            self._children.append(_Child(number, pid, ours))
            return None
        ours.close()
        for other in self._children:  # whose end it would hide
            other.connection.close()
        return theirs

    def _hear(self, child: _Child) -> bool:
        """Take what a worker says; False when it was lost, and there is work for another one."""
        try:
            said: tuple[int, list[_Heard]] | None = child.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._over(child)
        if said is None:
            piece = self._next_piece(child.number)
            child.given.extend(piece)
            child.connection.send(piece)
        else:
            child.given.popleft()
            child.failed |= self._report(*said)
        return True

    def _next_piece(self, number: int) -> _Piece:
        if self._parts[number]:
            return self._parts[number].popleft()
        longest = max(self._parts, key=len)
        return longest.pop() if longest else ()

    def _report(self, index: int, heard: Iterable[_Heard]) -> bool:
        """Have pytest report a test as if it had run here; whether it failed."""
        hook, item, failed = self._session.config.hook, self._session.items[index], False
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for name, said in heard:
            if name == "warning":
                hook.pytest_warning_recorded.call_historic(kwargs=said)
            else:
                report = hook.pytest_report_from_serializable(config=self._session.config, data=said)
                failed |= report.failed
                hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return failed

    def _over(self, child: _Child) -> bool:
        """Take note that a worker has ended; False when it had not finished."""
        self._children.remove(child)
        child.connection.close()
        code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if not child.given:
            if code != child.failed:
                raise RuntimeError(f"a worker ended with {code} after its last test; it says why on standard error")
            return True
        item = self._session.items[child.given.popleft()]
        ended = f"the worker that ran it {f'was killed by signal {-code}' if code < 0 else f'ended with code {code}'}"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", ended, "call")
        self._session.config.hook.pytest_runtest_logreport(report=report)
        self._parts[child.number].appendleft(tuple(child.given))
        return False

    def _end_when_told(self) -> None:
        """As pytest's own loop does after each test."""
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)

    def _wait_for_the_rest(self) -> None:
        """Each worker ends the test that it is at, and then finds that nobody listens."""
        for child in self._children:
            child.connection.close()
        for child in self._children:
            os.waitpid(child.pid, 0)


def dealt(items: Sequence[pytest.Item], workers: int) -> list[deque[_Piece]]:
    """A part for each of ``workers``, in pieces: slow modules first, spread by the seconds that their marks give."""
    parts: list[deque[_Piece]] = [deque() for _ in range(workers)]
    seconds, sizes = [0.0] * workers, [0] * workers
    marked = {index: item for index, item in enumerate(items) if item.get_closest_marker("slow")}
    slow = [list(group) for _, group in groupby(marked, key=lambda index: items[index].path)]
    for piece in sorted(slow, key=lambda piece: _seconds(marked[index] for index in piece), reverse=True):
        least = seconds.index(min(seconds))
        seconds[least] += _seconds(marked[index] for index in piece)
        sizes[least] += len(piece)
        parts[least].append(piece)
    quick = (index for index in range(len(items)) if index not in marked)
    number, share = 0, -(-len(items) // workers)
    for _, group in groupby(quick, key=lambda index: items[index].path):
        module = list(group)
        for begin in range(0, len(module), _PIECE):
            while sizes[number] >= share and number < workers - 1:
                number += 1
            piece = module[begin : begin + _PIECE]
            sizes[number] += len(piece)
            parts[number].append(piece)
    return parts


def _seconds(items: Iterable[pytest.Item]) -> float:
    """About how long slow tests take, by their markers."""
    markers = [marker for item in items if (marker := item.get_closest_marker("slow")) is not None]
    return sum(marker.kwargs.get("seconds", SLOW) for marker in markers)


class _Worker:
    """Runs what it is given, in the process that was forked for it."""

    def __init__(self, session: pytest.Session, connection: Connection) -> None:
        self._session = session
        self._connection = connection
        self._heard: list[_Heard] = []

    def work(self) -> None:
        """Run tests until there are none left."""
        self._be_a_worker()
        piece = self._next_piece()
        while piece:
            following: _Piece = ()
            for place, index in enumerate(piece):
                if place == len(piece) - 1:
                    following = self._next_piece()
                after = (*piece[place + 1 :], *following)[:1]
                self._run(index, *after)
            piece = following

    def _be_a_worker(self) -> None:
        config = self._session.config
        self._session.testsfailed = 0  # what other workers reported before this one was forked
        random.seed()  # not what the other workers would choose: ports, say
        sys.modules["__main__"] = ModuleType("__main__")  # not pytest's command, which processes of a test would import
        config.workerinput = {"forked": True}  # pyright: ignore[reportAttributeAccessIssue] - plugins look for it
        capture: Any = config.pluginmanager.getplugin("capturemanager")
        if capture:
            capture.stop_global_capturing()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        if capture:
            capture.start_global_capturing()
            capture.suspend_global_capture()
        config.pluginmanager.register(self)

    def _next_piece(self) -> _Piece:
        self._say(None)
        try:
            piece: _Piece = self._connection.recv()
        except EOFError:
            pytest.exit("the run has ended")
        return piece

    def _run(self, index: int, following: int | None = None) -> None:
        items, self._heard = self._session.items, []
        nextitem = None if following is None else items[following]
        items[index].config.hook.pytest_runtest_protocol(item=items[index], nextitem=nextitem)
        self._say((index, self._heard))

    def _say(self, message: tuple[int, list[_Heard]] | None) -> None:
        try:
            self._connection.send(message)
        except OSError:
            pytest.exit("the run has ended")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hand it on with the rest of what the test gives."""
        config = self._session.config
        self._heard.append(("report", config.hook.pytest_report_to_serializable(config=config, report=report)))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        """Hand it on, without what it is about, which may belong to this process."""
        if when == "runtest":
            told = warnings.WarningMessage(
                str(warning_message.message), warning_message.category, warning_message.filename, warning_message.lineno
            )
            said = {"warning_message": told, "when": when, "nodeid": nodeid, "location": location}
            self._heard.append(("warning", said))

    def pytest_internalerror(self, excrepr: object) -> None:
        """Say it where it can be read."""
        os.write(2, f"INTERNAL ERROR in a worker\n{excrepr}\n".encode())
