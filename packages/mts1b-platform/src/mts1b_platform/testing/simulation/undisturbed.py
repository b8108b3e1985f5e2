"""What killed processes leave behind is collected at the end of a simulation, without a word: it is nobody's error."""

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager

from mts1b_platform.testing.simulation.loop import set_running


@contextmanager
def undisturbed(let_go: Callable[[], None] = lambda: None) -> Generator[None]:
    """No garbage collection inside: it would run the ``finally`` blocks of killed processes.

    Args:
        let_go: called at the end; lets go of what lived in the world.
    """
    on = gc.isenabled()
    gc.disable()
    gc.freeze()  # what exists already need not be looked through at the end
    hook = sys.unraisablehook
    try:
        yield
    finally:
        sys.unraisablehook = _say_nothing
        logging.disable()
        outer = set_running(asyncio.AbstractEventLoop())  # a task that such a block begins is held by none
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            let_go()
            gc.collect()
            gc.collect()  # what was begun by the end of a coroutine
        set_running(outer)
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook
        gc.unfreeze()
        if on:
            gc.enable()


def _say_nothing(unraisable: object) -> None:
    """The end of a coroutine whose process was killed is nobody's error."""
