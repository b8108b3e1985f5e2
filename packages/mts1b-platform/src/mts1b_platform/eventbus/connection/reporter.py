"""Telling the owner of a connection what went wrong, whatever the owner's callbacks do."""

import asyncio
from collections.abc import Callable

from mts1b_platform.eventbus.connection.options import Callbacks


class Reporter:
    """Call it with an error that no caller is told."""

    __slots__ = ("_callbacks", "_loop")

    def __init__(self, callbacks: Callbacks, loop: asyncio.AbstractEventLoop) -> None:
        self._callbacks = callbacks
        self._loop = loop

    def __call__(self, error: Exception) -> None:
        """Tell of ``error``."""
        try:
            self._callbacks.error(error)
        except Exception as failure:  # noqa: BLE001 - the last resort is the loop's own
            self._loop.call_exception_handler({"message": "a callback for errors failed", "exception": failure})

    def calling(self, callback: Callable[[], object]) -> None:
        """Call a callback; what it raises is an error that no caller is told."""
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - it is the callback's, not the connection's
            self(error)
