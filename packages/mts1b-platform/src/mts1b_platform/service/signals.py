"""Signals that end a service."""

import asyncio
import os
import signal
from collections.abc import Callable

from mts1b_platform.logs import get_logger

log = get_logger("mts1b.service")


class Signals:
    """While entered: the first SIGTERM or SIGINT calls ``stop``, the second ends the process at once."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._seen = False

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)

    def __exit__(self, *exc_info: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _receive(self, number: int) -> None:
        if self._seen:
            log.warning("second signal: ending at once; events at work come again", signal=number)
            os._exit(128 + number)
        self._seen = True
        log.info("ending: reading nothing new, finishing what is in hand", signal=number)
        self._stop()
