"""The pytest fixtures with which a repo tests its own service on a real server.

::

    from mts1b_alpha.service import service

    async def test_a_fill_is_noted(run_service, publish):
        alpha = await run_service(service)
        await publish(OMS_FILLS_CREATED, FILL)
        await alpha.settled()
        assert await alpha.published(ALPHA_TRADES_NOTED) == [NOTE]
        assert await alpha.dead_letters() == []

    async def test_a_crash_loses_nothing(spawn_service, publish):
        alpha = await spawn_service("mts1b_alpha.service:service")
        await publish(OMS_FILLS_CREATED, FILL)
        await alpha.kill()
        await alpha.start()
        await alpha.settled()

Nothing here sleeps and hopes: :meth:`ServiceUnderTest.settled` asks the server until every durable of the service has
acknowledged all that was stored for it. While these fixtures are in use, whatever connects without naming a server
connects to that of the test, and the user's own configuration is not read.

Needs pytest-asyncio.
"""

import asyncio
import importlib
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest
import pytest_asyncio
from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects import DurableSubject, Subject, deadletters_of
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus import Ack, EventBus, JetStreamUnavailable, apply_streams
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.durables import stream_of
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

if TYPE_CHECKING:  # every run of pytest loads this
    from mts1b_platform.service import Service

__all__ = [
    "Publish",
    "RunService",
    "ServiceProcess",
    "ServiceUnderTest",
    "SpawnService",
    "bus_of_test",
    "publish",
    "run_service",
    "spawn_service",
]

_PATIENCE: Final = 30.0
"""Seconds; a machine that runs many tests may stand still for some."""
_LOOK: Final = 0.01
"""Seconds between two questions to the server."""


class ServiceUnderTest(ABC):
    """A service that runs on the test's server, and what the server holds of it.

    Attributes:
        service: as it was declared.
    """

    def __init__(self, service: "Service", connect_bus: ConnectBus) -> None:
        self.service = service
        self._connect_bus = connect_bus
        self._looking: EventBus | None = None

    @abstractmethod
    async def start(self) -> None:
        """Start it, or start it again; returns when everything is read.

        Raises:
            Mts1bError: the service could not start, with its reason.
        """

    @abstractmethod
    async def stop(self) -> int:
        """End it as SIGTERM does; the exit code: 0 when it has drained."""

    async def restart(self) -> None:
        """End it and start it again."""
        await self.stop()
        await self.start()

    async def settled(self, *, within: float = _PATIENCE) -> None:
        """Wait until every durable of the service has acknowledged all that is stored for it, retries included.

        What became a dead letter is acknowledged too: see :meth:`dead_letters`.

        Raises:
            TimeoutError: it took longer than ``within`` seconds; says which durable has what left.
        """
        bus, left = await self._bus(), dict.fromkeys(self.service.durables, "not made yet")
        try:
            async with asyncio.timeout(within):
                while left:
                    for durable in list(left):
                        if words := await self._left(bus, durable):
                            left[durable] = words
                        else:
                            del left[durable]
                    if left:
                        await asyncio.sleep(_LOOK)
        except TimeoutError:
            still = "; ".join(f"{durable}: {words}" for durable, words in left.items())
            raise TimeoutError(f"{self.service.name} has not handled everything within {within:g} s: {still}") from None

    async def published(self, subject: DurableSubject[T]) -> list[T]:
        """What the server holds of ``subject``, oldest first."""
        bus = await self._bus()
        history = await open_history(bus, await stream_of(bus, [subject]))
        found: list[Recorded] = []
        for form in subject.patterns:
            found += [message async for message in history.messages(form)]
        found.sort(key=lambda each: each.seq)
        return [subject.payload.model_validate_json(each.wire.payload) for each in found]

    async def dead_letters(self) -> list[DeadLetter]:
        """What the service gave up on, oldest first."""
        return await self.published(deadletters_of(self.service.name))

    async def _bus(self) -> EventBus:
        """A connection of the test's own."""
        if self._looking is None:
            self._looking = await self._connect_bus(self.service.name)
        return self._looking

    async def _left(self, bus: EventBus, durable: str) -> str:
        """What a durable has not acknowledged, in words; nothing when it has everything."""
        stream = await stream_of(bus, self.service.durables[durable])
        consumers: list[dict[str, Any]] = (await js_api(bus, f"CONSUMER.LIST.{stream}")).get("consumers") or []
        info = next((each for each in consumers if each["name"] == durable), None)
        if info is None:
            return "not made yet"
        waiting, at_work = info["num_pending"], info["num_ack_pending"]
        return f"{waiting} not delivered, {at_work} not acknowledged" if waiting or at_work else ""


class _Inside(ServiceUnderTest):
    """A service that runs in the test's own event loop, so that the test sees what it does."""

    def __init__(self, service: "Service", connect_bus: ConnectBus) -> None:
        super().__init__(service, connect_bus)
        self._serving: asyncio.Task[int] | None = None

    async def start(self) -> None:
        """Start it in this event loop."""
        if self._serving is not None:
            raise RuntimeError(f"{self.service.name} runs already")
        self._serving = asyncio.create_task(self.service.serve(), name=f"serve {self.service.name}")
        await asyncio.sleep(0)  # serving has begun: what an earlier run ended with is forgotten
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.service.started()
        except BaseException:
            serving, self._serving = self._serving, None
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            raise

    async def stop(self) -> int:
        """End it; the exit code."""
        if self._serving is None:
            raise RuntimeError(f"{self.service.name} does not run")
        serving, self._serving = self._serving, None
        self.service.stop()
        return await serving

    async def end(self) -> None:
        """End it with the test."""
        if self._serving is not None:
            await self.stop()


class ServiceProcess(ServiceUnderTest):
    """A service in a process of its own, which can be killed."""

    def __init__(self, target: str, service: "Service", connect_bus: ConnectBus, log: Path) -> None:
        super().__init__(service, connect_bus)
        self._target = target
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process, and wait until it says that it is ready."""
        if self._process is not None:
            raise RuntimeError(f"{self.service.name} runs already")
        before = self.log().count(_READY)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _PROGRAM, self._target, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        ended = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.log().count(_READY) == before:
                    if ended.done():
                        self._process = None
                        raise RuntimeError(f"{self._target} ended with {ended.result()}:\n{self.log()}")
                    await asyncio.sleep(_LOOK)
        finally:
            ended.cancel()

    async def stop(self) -> int:
        """End it by SIGTERM; the exit code."""
        process, self._process = self._running(), None
        process.terminate()
        return await process.wait()

    async def kill(self) -> None:
        """Kill it as a crash or the system would: nothing is finished, nothing acknowledged."""
        process, self._process = self._running(), None
        process.kill()
        await process.wait()

    def freeze(self) -> None:
        """Have it stand still (SIGSTOP) until :meth:`thaw`."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def log(self) -> str:
        """What it has printed and logged so far, over all of its runs."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def end(self) -> None:
        """End it with the test."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                await self.kill()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.service.name} does not run")
        return self._process


_READY: Final = '"event": "ready"'
_PROGRAM: Final = """
import importlib, sys
from mts1b_platform.logs import configure_logging
module, _, name = sys.argv[1].partition(":")
getattr(importlib.import_module(module), name).run()
"""


class RunService(Protocol):
    """What the fixture ``run_service`` gives."""

    async def __call__(self, service: "Service") -> ServiceUnderTest:
        """Run ``service`` in the test's event loop; returns when it reads, raises when it cannot start."""
        ...


class SpawnService(Protocol):
    """What the fixture ``spawn_service`` gives."""

    async def __call__(self, target: str) -> ServiceProcess:
        """Run the service ``"package.module:name"`` in a process of its own; returns when it reads."""
        ...


class Publish(Protocol):
    """What the fixture ``publish`` gives."""

    async def __call__(self, subject: Subject[T], event: T, **options: Any) -> Ack | None:
        """Emit ``event`` as the producer of ``subject``, whoever that is; options as for ``bus.emit``."""
        ...


@pytest_asyncio.fixture
async def bus_of_test(
    nats_server: NatsServer, connect_bus: ConnectBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stream on the server; the environment leads there."""
    nothing = tmp_path / "mts1b.toml"
    nothing.touch()
    for name in [name for name in os.environ if name.startswith("MTS1B_")]:
        if name not in ("MTS1B_CORE", "MTS1B_PURE", "MTS1B_NATS_SERVER"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    monkeypatch.setenv("MTS1B_CONFIG", str(nothing))
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", f"{_PATIENCE:g}")
    bus = await connect_bus("mts1b-deploy")
    while True:
        try:
            await apply_streams(bus)
        except JetStreamUnavailable:  # the machine stood still: what is there already stays
            continue
        return


@pytest_asyncio.fixture
async def publish(connect_bus: ConnectBus, bus_of_test: None) -> Publish:  # noqa: ARG001 - it prepares the server
    """Publish what the service under test reads, as whoever produces it."""
    buses: dict[str, EventBus] = {}

    async def emit(subject: Subject[T], event: T, **options: Any) -> Ack | None:
        bus = buses.get(subject.producer)
        if bus is None:
            bus = buses[subject.producer] = await connect_bus(subject.producer)
        return await bus.emit(subject, event, **options)

    return emit


@pytest_asyncio.fixture
async def run_service(
    connect_bus: ConnectBus,
    bus_of_test: None,  # noqa: ARG001 - as above
) -> AsyncIterator[RunService]:
    """Run services in the test's event loop; those that still run are ended with the test."""
    made: list[_Inside] = []

    async def run(service: "Service") -> ServiceUnderTest:
        one = _Inside(service, connect_bus)
        made.append(one)
        await one.start()
        return one

    yield run
    for one in made:
        await one.end()


@pytest_asyncio.fixture
async def spawn_service(
    connect_bus: ConnectBus,
    tmp_path: Path,
    bus_of_test: None,  # noqa: ARG001 - as above
) -> AsyncIterator[SpawnService]:
    """Run services in processes of their own; those that still run are killed with the test."""
    made: list[ServiceProcess] = []

    async def spawn(target: str) -> ServiceProcess:
        module, _, name = target.partition(":")
        service = getattr(importlib.import_module(module), name)
        one = ServiceProcess(target, service, connect_bus, tmp_path / f"service-{len(made)}.log")
        made.append(one)
        await one.start()
        return one

    yield spawn
    for one in made:
        await one.end()
