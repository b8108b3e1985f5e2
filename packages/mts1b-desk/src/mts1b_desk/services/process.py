"""One service as a process of its own: logging to standard error, ended by a signal or by the end of its parent."""

import asyncio
import contextlib
import gc
import multiprocessing
import signal
import sys
import tempfile
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.logs import configure_logging, get_logger
from mts1b_platform.observability import observe
from mts1b_platform.service.findable import be_found

from mts1b_desk.declared import TAKEOVER
from mts1b_desk.errors import DeskError, Fatal
from mts1b_desk.protocol import SERVICES
from mts1b_desk.services.brokers import BrokersService
from mts1b_desk.services.core_service import CoreService
from mts1b_desk.services.oms import OmsService
from mts1b_desk.services.research import ResearchService
from mts1b_desk.services.risk import RiskService
from mts1b_desk.services.service import Service
from mts1b_desk.services.treasury import TreasuryService
from mts1b_desk.services.wiring import CORES
from mts1b_desk.settings import DeskSettings, HeardSettings
from mts1b_desk.state.choose import make_store
from mts1b_desk.state.office import InOffice, Office
from mts1b_desk.state.store import Store

log = get_logger("mts1b.desk.process")

_SERVICES: dict[str, type[CoreService[Any]]] = {
    "research": ResearchService,
    "riskengine": RiskService,
    "oms": OmsService,
    "brokers": BrokersService,
    "treasury": TreasuryService,
}
"""The services that do more than every core does."""


def repo_of(service: str) -> str:
    """The repo that a service speaks as."""
    return f"mts1b-{service}"


def make_service(name: str, bus: EventBus, settings: DeskSettings, directory: Path) -> Service:
    """The service ``name`` on ``bus``, with its state in ``directory`` unless the settings name a database."""
    store: Store = make_store(name, repo_of(name), settings, directory)
    if not settings.standby:
        return _make(name, bus, settings, store)
    office = Office(make_store(name, repo_of(name), settings, directory), TAKEOVER)
    made = _make(name, bus, settings, InOffice(store, office))
    made.office = office
    return made


def _make(name: str, bus: EventBus, settings: DeskSettings, store: Store) -> Service:
    if name != "marketdata":
        return _SERVICES.get(name, CoreService)(CORES[name](settings), bus, settings, store)
    if isinstance(settings.source, HeardSettings):
        from mts1b_desk.services.heard_market import HeardMarket

        return HeardMarket(bus, settings, store)
    from mts1b_desk.services.marketdata import MarketdataService  # it alone reads files

    return MarketdataService(bus, settings, store)


def leave_loaded_code_alone() -> None:
    """Have the garbage collector look at what services make, and seldom: not at the libraries that are loaded."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def run_service(name: str, settings: DeskSettings) -> int:
    """Run a service until it is told to end, or the run that forked it is gone; returns the exit code.

    Args:
        name: one of ``SERVICES``.
        settings: the run it belongs to.
    """
    if name not in SERVICES:
        raise ValueError(f"no service is called {name!r}")
    configure_logging()
    leave_loaded_code_alone()
    try:
        asyncio.run(_serve(name, settings))
    except BaseExceptionGroup as group:
        known, rest = group.split((Mts1bError, Fatal))
        if rest is not None or known is None:
            raise
        _complain(name, _flat(known))
        return 1
    except (Mts1bError, Fatal) as error:
        _complain(name, [error])
        return 1
    return 0


async def _serve(name: str, settings: DeskSettings) -> None:
    if settings.standby and settings.state is None and settings.database is None:
        raise DeskError(
            "an instance that stands by goes on from what the other one has stored: name a directory that both can "
            "read as `state`, or a `database`, in the settings"
        )
    bus = await connect(settings.servers, service=repo_of(name), actor=f"desk-{settings.session}")
    with contextlib.ExitStack() as stack:
        directory = settings.state
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"mts1b-desk-{name}-")))
        await _run(name, bus, settings, directory)


async def _run(name: str, bus: EventBus, settings: DeskSettings, directory: Path) -> None:
    service = make_service(name, bus, settings, directory)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop)
    with _watching_the_parent(service):
        async with observe(bus) as observed:
            observed.check("service", service.readiness)
            observed.note("instance", partial(_instance, service))
            await be_found(bus, metadata={"command": f"mts1b-desk {name}", "session": settings.session})
            await service.run()


def _instance(service: Service) -> dict[str, str]:
    return {} if service.office is None else {service.name: "standby" if service.stands_by else "active"}


@contextlib.contextmanager
def _watching_the_parent(service: Service) -> Generator[None]:
    """Stop the service when the process that forked it is gone: nobody is left who would."""
    parent = multiprocessing.parent_process()
    if parent is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(parent.sentinel)
        log.warning("the run that started this service is gone; ending")
        service.stop()

    loop.add_reader(parent.sentinel, gone)
    try:
        yield
    finally:
        loop.remove_reader(parent.sentinel)


def _complain(name: str, errors: Iterable[BaseException]) -> None:
    for error in errors:
        print(f"mts1b-desk {name}: {error}", file=sys.stderr)


def _flat(errors: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found += _flat(cast("BaseExceptionGroup[Any]", error)) if isinstance(error, BaseExceptionGroup) else [error]
    return found
