"""An asyncio event loop on the virtual time of one simulated process. It opens nothing and has no thread."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, Protocol

from mts1b_platform.testing.simulation.world import World


class Call:
    """A callback that is to be called; stands for asyncio's ``Handle`` and ``TimerHandle``."""

    __slots__ = ("_when", "args", "callback", "context")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        when: float = 0.0,
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context if context is not None else contextvars.copy_context()
        self._when = when

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self._when


def set_running(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
    """Have ``loop`` be the one that runs in this thread; returns which one was."""
    # in asyncio's ``__all__``, for who writes a loop of his own
    was = asyncio._get_running_loop()  # noqa: SLF001
    asyncio._set_running_loop(loop)  # noqa: SLF001
    return was


class Turner(Protocol):
    """Who runs a loop turn by turn: its process."""

    world: World
    now: float
    handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...]]]
    """Of signals."""

    def soon(self, call: Call) -> None:
        """Call it in the next turn."""
        ...

    def complain(self, message: str, error: BaseException | None) -> None:
        """Note an exception that nobody waited for."""
        ...


class SimLoop(asyncio.AbstractEventLoop):
    """The loop of one process."""

    def __init__(self, process: Turner) -> None:
        self._process = process

    def time(self) -> float:
        return self._process.now

    def call_soon(  # pyright: ignore[reportIncompatibleMethodOverride] - typeshed wants asyncio's own handles
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Call:
        call = Call(callback, args, context)
        self._process.soon(call)
        return call

    call_soon_threadsafe = call_soon  # pyright: ignore[reportAssignmentType] - as above

    def call_later(  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Call:
        return self.call_at(self._process.now + delay, callback, *args, context=context)

    def call_at(  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Call:
        call = Call(callback, args, context, when)
        self._process.world.at(when, self._due, call)
        return call

    def _due(self, call: Call) -> None:
        if call.callback is not None:
            self._process.soon(call)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride] - typeshed differs between Python versions
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Do it here and now: a simulated process has one thread."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to who waits
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An exception that nobody waits for."""
        self._process.complain(str(context.get("message")), context.get("exception"))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Signals come as calls of ``Process.signal``."""
        self._process.handlers[sig] = (callback, args)

    def remove_signal_handler(self, sig: int) -> bool:
        return self._process.handlers.pop(sig, None) is not None

    # What it does not have, said in words.

    async def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        raise _missing("getaddrinfo")

    async def create_connection(self, *_: Any, **__: Any) -> NoReturn:
        raise _missing("create_connection")

    async def create_server(self, *_: Any, **__: Any) -> NoReturn:
        raise _missing("create_server")

    async def subprocess_exec(self, *_: Any, **__: Any) -> NoReturn:
        raise _missing("subprocess_exec")

    async def subprocess_shell(self, *_: Any, **__: Any) -> NoReturn:
        raise _missing("subprocess_shell")


def _missing(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"a simulated process has no {name}: sockets, programs and other servers than NATS are not simulated; hand the "
        "service something in their place, or test it on a real server (run_service, spawn_service)"
    )
