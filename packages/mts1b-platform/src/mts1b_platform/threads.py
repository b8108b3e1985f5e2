"""Plain functions as handlers: each call runs in a thread of its own, so that it does not hold up the event loop."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")


def is_plain(handler: Callable[..., object]) -> bool:
    """Whether ``handler`` is a plain function, which blocks until it returns."""
    call = getattr(handler, "__call__", None)  # noqa: B004 - what calling an instance calls
    return not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call) or _wraps_one(handler))


def in_thread(function: Callable[..., R], *arguments: Any) -> Awaitable[R]:
    """Call ``function`` in a thread; whoever waits may be cancelled, the call goes on until it returns.

    The thread is a daemon: a process that ends does not wait for it.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[R] = loop.create_future()
    context = contextvars.copy_context()

    def call() -> None:
        try:
            result = context.run(function, *arguments)
        except BaseException as error:  # noqa: BLE001 - it is the caller's to see
            _tell(outcome.set_exception, error)
        else:
            _tell(outcome.set_result, result)

    def _tell(method: Callable[[Any], None], value: object) -> None:
        def unless_cancelled() -> None:
            if not outcome.done():
                method(value)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(unless_cancelled)

    threading.Thread(target=call, name=getattr(function, "__name__", "handler"), daemon=True).start()
    return outcome


def call(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
    """Call ``function``: a coroutine function in the event loop, a plain one in a thread."""
    return in_thread(function, *arguments) if is_plain(function) else function(*arguments)


def _wraps_one(handler: Callable[..., object]) -> bool:
    """Whether it is a ``partial`` of a coroutine function."""
    inner = getattr(handler, "func", None)
    return inner is not None and inspect.iscoroutinefunction(inner)
