"""For all tests: what a run needs to end, whatever its tests did.

- Children answer to Ctrl-C although the tests themselves run in the background, where it is ignored.
- A process whose failed test is never torn down, or a run that is over and does not end, because a thread still waits,
  say, shows what every thread does and ends. A worker's other tests go to another one.
- A machine that stands still for a while fails no property test.
"""

import faulthandler
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

_LAST_WORDS = 60.0
"""Seconds for the teardown of a failed test, and from the last test to the end of the process."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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
