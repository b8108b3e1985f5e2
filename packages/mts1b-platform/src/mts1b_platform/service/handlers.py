"""What a service calls: the types of handlers and hooks, and how they are called.

A handler is a coroutine function, or a plain function, which runs in a thread.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus import Event, InvalidArgument
from mts1b_platform.eventbus.events.event import Tx
from mts1b_platform.eventbus.events.once import DedupeStore
from mts1b_platform.logs import get_logger
from mts1b_platform.threads import call, is_plain

log = get_logger("mts1b.service")

Outcome = TypeVar("Outcome", bound=Awaitable[object] | None)
"""What a handler returns: an awaitable, or nothing when it is a plain function."""
Work = TypeVar("Work", bound=Awaitable[object])
"""What a coroutine function returns."""
Hook = TypeVar("Hook", bound=Callable[[], Awaitable[object]])
Tick = TypeVar("Tick", bound=Callable[[], Awaitable[object] | None])

Handler = Callable[..., Any]


def name_of(handler: Handler) -> str:
    """What a handler is called in logs and errors."""
    return getattr(handler, "__qualname__", None) or repr(handler)


def check_handler(handler: Handler, *given: str, plain: bool = True) -> None:
    """A handler that can be called with what it will be given.

    Raises:
        InvalidArgument: it takes something else, or is a plain function where that cannot be.
    """
    if not callable(handler):
        raise InvalidArgument(f"{handler!r} is no handler: decorate a function that takes ({', '.join(given)})")
    try:
        inspect.signature(handler).bind(*given)
    except TypeError as error:
        raise InvalidArgument(f"{name_of(handler)} is called with ({', '.join(given)}): {error}") from None
    except ValueError:  # a builtin that does not say what it takes
        return
    if not plain and is_plain(handler):
        raise InvalidArgument(
            f"{name_of(handler)} is a plain function: it runs in a thread, where the transaction of a dedupe store "
            "cannot be used. Write it as `async def`"
        )


def once(handler: Callable[[Event[T], Tx], Awaitable[object]], store: DedupeStore[Tx]) -> Handler:
    """``handler`` with the transaction of ``store``, once per event."""

    async def handle(event: Event[T]) -> None:
        async with event.once(store) as tx:
            await handler(event, tx)

    return handle


async def unharmed(work: Awaitable[object], what: str) -> None:
    """Await ``work``; a failure is logged and goes no further."""
    try:
        await work
    except Exception:
        log.exception("handler failed", handler=what)


async def every(seconds: float, tick: Callable[[], Awaitable[object] | None]) -> NoReturn:
    """Call ``tick`` each so many seconds, never twice at a time; one that raises is logged and called again."""
    clock = asyncio.get_running_loop()
    due = clock.time() + seconds
    while True:
        await asyncio.sleep(due - clock.time())
        await unharmed(call(tick), f"{name_of(tick)}, every {seconds:g} s")
        due = max(due + seconds, clock.time())
