"""Making a service observable: one ``async with`` around its work.

::

    async with await connect() as bus, observe(bus):
        ...

opens ``/metrics``, ``/healthz`` and ``/readyz`` when ``MTS1B_METRICS_PORT`` is set, and tells systemd, where it has
started the process, that it is ready and alive. Audit log and traces need no
call: ``connect()`` turns them on by itself when they are configured (``attach``).
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.discovery import announce
from mts1b_platform.observability.endpoint import Check, Endpoint, Note
from mts1b_platform.observability.metrics import BusMetrics
from mts1b_platform.systemd import notifying

log = get_logger("mts1b.observability")


class Observed:
    """The metrics and health endpoint of this process. Made by :func:`observe`.

    Serves what the application registered with prometheus-client's default registry as well.
    """

    def __init__(self, bus: EventBus, *, port: int | None = None, host: str | None = None) -> None:
        settings = bus.settings
        self.registry = CollectorRegistry(auto_describe=False)
        self.metrics = BusMetrics()
        self.registry.register(self.metrics)
        self.registry.register(_Default())
        self._settings = settings
        self._service = bus.service
        self._wanted = settings.metrics_port if port is None else port
        self._host = host or settings.metrics_host
        self._buses: list[EventBus] = []
        self._open = AsyncExitStack()
        self.endpoint: Endpoint | None = None
        """None when no port is set."""
        if self._wanted is not None:
            self.endpoint = Endpoint(self.registry, host=self._host, port=self._wanted)
        self.watch(bus)

    def watch(self, bus: EventBus) -> None:
        """Serve the metrics of a further connection, and count it into readiness."""
        self.metrics.watch(bus)
        self._buses.append(bus)
        self.check(f"bus {len(self._buses)}" if len(self._buses) > 1 else "bus", lambda: _reaches_server(bus))

    def check(self, name: str, check: Check) -> None:
        """Make readiness depend on ``check`` too."""
        if self.endpoint is not None:
            self.endpoint.checks[name] = check

    def note(self, name: str, note: Note) -> None:
        """Have ``/readyz`` tell ``note`` beside, under ``name``."""
        if self.endpoint is not None:
            self.endpoint.notes[name] = note

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(notifying())
        if self.endpoint is None:
            return self
        await self._open.enter_async_context(self.endpoint)
        if self._settings.metrics_dir is not None:
            path = announce(self._settings.metrics_dir, self._service, self.endpoint.address)
            self._open.callback(path.unlink, missing_ok=True)
        log.info("metrics endpoint is open", address=self.endpoint.address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()


def observe(bus: EventBus, *, port: int | None = None, host: str | None = None) -> Observed:
    """Watch ``bus`` and, inside ``async with``, serve the endpoint.

    Args:
        bus: whose counters to serve.
        port: in place of the setting ``metrics_port``; 0 for any free one.
        host: in place of the setting ``metrics_host``.

    Raises:
        EndpointError: on entering: the port is taken.
        DiscoveryError: on entering: the directory for discovery cannot be written to.
    """
    return Observed(bus, port=port, host=host)


async def _reaches_server(bus: EventBus) -> str | None:
    """A round trip to the server: a connection that only looks alive fails it."""
    if bus.is_closed:
        return "closed"
    if not bus.is_connected:
        return "not connected to a NATS server"
    try:
        await bus.connection.flush(1)  # not the bus's: it would take a refusal that somebody else must be told of
    except BusError as error:
        return f"the NATS server does not answer: {error}"
    return None


class _Default(Collector):
    """prometheus-client's default registry: process figures, and what the application registered."""

    def collect(self) -> Iterator[Family]:
        yield from REGISTRY.collect()
