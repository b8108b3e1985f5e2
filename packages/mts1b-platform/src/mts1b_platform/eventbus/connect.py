"""Connecting: settings in, a bus out, or an error that says what to start."""

import asyncio
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats.errors

from mts1b_platform.config import Settings
from mts1b_platform.eventbus.api import where
from mts1b_platform.eventbus.bus import EventBus
from mts1b_platform.eventbus.errors import AccessDenied, BusError, ServerUnavailable
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.connection")

HOOKS_GROUP = "mts1b.hooks"
"""Entry point group of functions that are given each new bus and may set hooks on it."""


async def connect(
    servers: str | Sequence[str] | None = None,
    *,
    service: str | None = None,
    actor: str | None = None,
    profile: str | None = None,
    config: str | Path | None = None,
    connect_timeout: float | None = None,
    **nats_options: Any,
) -> EventBus:
    """Connect to the bus. Without arguments: as environment and ``mts1b.toml`` say (see ``mts1b_platform.config``).

    The connection is re-established for ever once it stood; a server that freezes is noticed within three seconds.

    Args:
        servers: NATS URLs, one or several, comma-separated in one string or as a list.
        service: the repo this process speaks as, such as ``mts1b-oms``; publishing needs it.
        actor: who acts when a payload does not say.
        profile: minimal, single or production.
        config: a configuration file in place of the one that would be found.
        connect_timeout: seconds until the first connection must stand.
        nats_options: further options of nats-py's ``connect``.

    Raises:
        ConfigError: a setting is malformed.
        ServerUnavailable: no server answered in time.
        AccessDenied: the server refused this identity.
    """
    settings = Settings.load(
        config,
        servers=servers,
        service=service,
        actor=actor,
        profile=profile,
        connect_timeout=connect_timeout,
    )
    bus = EventBus(settings)
    refusals: list[Exception] = []
    options = {**_callbacks(bus, refusals), **_defaults(settings), **nats_options}
    try:
        await asyncio.wait_for(bus.connect(list(settings.servers), **options), settings.connect_timeout)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        await bus.close()
        raise _explain(settings, error, refusals) from None
    if not bus.is_connected:
        await bus.close()
        raise _explain(settings, bus.last_error or TimeoutError(), refusals)
    try:
        _attach_hooks(bus)
    except BaseException:
        await bus.close()
        raise
    await bus.open_lane()
    bus.came_up()
    log.debug("connected", server=where(bus), service=bus.service)
    return bus


def _attach_hooks(bus: EventBus) -> None:
    """Let those watch who contribute to the entry point group, when the settings ask for watching at all."""
    if bus.settings.watched:
        for entry in entry_points(group=HOOKS_GROUP):
            entry.load()(bus)


def _defaults(settings: Settings) -> dict[str, Any]:
    return {
        "name": settings.service or "mts1b",
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.1,
        "connect_timeout": 2,
        "ping_interval": 1,
        "max_outstanding_pings": 2,
    }


def _callbacks(bus: EventBus, refusals: list[Exception]) -> dict[str, Any]:
    async def on_error(error: Exception) -> None:
        bus.counters.errors += 1
        if not bus.is_connected:
            refusals[:] = [*refusals[-9:], error]
            log.debug("connection attempt failed", error=str(error) or type(error).__name__)
        else:
            log.warning("the server or the connection reports an error", error=str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        bus.went_down()
        if not bus.is_closed:
            bus.counters.disconnects += 1
            log.warning("connection lost; reconnecting", service=bus.service)

    async def on_reconnect() -> None:
        bus.counters.reconnects += 1
        bus.came_up()
        log.warning("connection is back", server=where(bus), service=bus.service)

    async def on_close() -> None:
        bus.went_down()
        bus.was_closed()

    return {
        "error_cb": on_error,
        "disconnected_cb": on_disconnect,
        "reconnected_cb": on_reconnect,
        "closed_cb": on_close,
    }


def _explain(settings: Settings, error: BaseException, refusals: list[Exception]) -> BusError:
    servers = ", ".join(_without_credentials(server) for server in settings.servers)
    refusal = next((seen for seen in (error, *refusals) if _is_refusal(seen)), None)
    if refusal is not None:
        return AccessDenied(
            f"the NATS server at {servers} refuses this identity ({settings.service or 'no service set'}): check its "
            "credentials and certificate"
        )
    last = refusals[-1] if refusals else error
    why = str(last) or type(last).__name__
    return ServerUnavailable(
        f"no NATS server at {servers} ({why}): start one with `mts1b-deploy install --profile minimal --include nats`, "
        "or point MTS1B_NATS_URL at one that runs"
    )


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, nats.errors.AuthorizationError) or "authorization" in str(error).lower()


def _without_credentials(server: str) -> str:
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"
