"""For all tests: what a run needs to end, whatever its tests did.

- Children answer to Ctrl-C although the tests themselves run in the background, where it is ignored.
- A process whose failed test is never torn down, or a run that is over and does not end, because a thread still waits,
  say, shows what every thread does and ends. A worker's other tests go to another one.
- A machine that stands still for a while fails no property test.

And what it needs to end soon: `-n auto` is two workers for each processor, as many tests wait for real processes, and
every worker begins with its part of the slow ones.
"""

import faulthandler
import os
import signal
import sys
from itertools import islice

import pytest
from hypothesis import HealthCheck, settings

_LAST_WORDS = 60.0
"""Seconds for the teardown of a failed test, and from the last test to the end of the process."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_xdist_auto_num_workers() -> int:
    """How many are behind `-n auto`."""
    return 2 * len(os.sched_getaffinity(0))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the slow tests out: the scheduler gives the workers equal parts of the list, one behind the other."""
    workers: int = getattr(config, "workerinput", {}).get("workercount", 0)
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = iter([item for item in items if not item.get_closest_marker("slow")])
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        mine = slow[worker::workers]
        size = (len(items) - len(dealt)) // (workers - worker)
        dealt += [*mine, *islice(rest, max(0, size - len(mine)))]
    if workers:
        items[:] = dealt


def _end_in_time() -> None:
    faulthandler.dump_traceback_later(_LAST_WORDS, exit=True, file=sys.__stderr__ or sys.stderr)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact() -> None:
    """Pytest has just called off ``faulthandler_timeout`` of this test; it does so again when the test is over."""
    _end_in_time()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Not in a worker: one that has nothing left to do waits for the others, and is ended with them."""
    if not hasattr(session.config, "workerinput"):
        _end_in_time()
