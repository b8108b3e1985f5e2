"""One service as a process of its own: logging to standard error, ended by a signal or by the end of its parent."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterable
from typing import Any, cast

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.logs import configure_logging, get_logger
from mts1b_platform.observability import observe

from mts1b_desk.protocol import SERVICES
from mts1b_desk.services.core_service import CoreService, Fatal
from mts1b_desk.services.service import Service
from mts1b_desk.settings import DeskSettings

log = get_logger("mts1b.desk.process")


def repo_of(service: str) -> str:
    """The repo that a service speaks as."""
    return f"mts1b-{service}"


def make_service(name: str, bus: EventBus, settings: DeskSettings) -> Service:
    """The service ``name`` on ``bus``."""
    if name != "marketdata":
        return CoreService(name, bus, settings)
    from mts1b_desk.services.marketdata import MarketdataService

    return MarketdataService(bus, settings)


def run_service(name: str, settings: DeskSettings, *, lifeline: bool) -> int:
    """Run a service until it is told to end; returns the exit code.

    Args:
        name: one of ``SERVICES``.
        settings: the run it belongs to.
        lifeline: also end when standard input ends, that is when the parent that holds the other end is gone.
    """
    if name not in SERVICES:
        raise ValueError(f"no service is called {name!r}")
    configure_logging()
    try:
        asyncio.run(_serve(name, settings, lifeline=lifeline))
    except BaseExceptionGroup as group:
        known, rest = group.split((Mts1bError, Fatal))
        if rest is not None or known is None:
            raise
        _complain(name, _flat(known))
        return 1
    except Mts1bError as error:
        _complain(name, [error])
        return 1
    return 0


async def _serve(name: str, settings: DeskSettings, *, lifeline: bool) -> None:
    bus = await connect(settings.servers, service=repo_of(name), actor=f"desk-{settings.session}")
    service = make_service(name, bus, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop)
    watch = asyncio.create_task(_parent_gone(service)) if lifeline else None
    try:
        async with observe(bus) as observed:
            observed.check("service", service.readiness)
            await service.run()
    finally:
        if watch is not None:
            watch.cancel()


async def _parent_gone(service: Service) -> None:
    """Stop the service when standard input ends: nobody is left who would."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with contextlib.closing(transport):
        while await reader.read(1024):
            pass
    log.warning("the run that started this service is gone; ending")
    service.stop()


def _complain(name: str, errors: Iterable[BaseException]) -> None:
    for error in errors:
        print(f"mts1b-desk {name}: {error}", file=sys.stderr)


def _flat(errors: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found += _flat(cast("BaseExceptionGroup[Any]", error)) if isinstance(error, BaseExceptionGroup) else [error]
    return found
