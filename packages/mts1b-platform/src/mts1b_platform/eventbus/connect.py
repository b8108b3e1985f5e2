"""Connecting: settings in, a bus out, or an error that says what to start."""

import asyncio
import ssl
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats.errors

from mts1b_platform.config import Settings
from mts1b_platform.eventbus.bus import EventBus
from mts1b_platform.eventbus.ending import end
from mts1b_platform.eventbus.errors import AccessDenied, BusError, ServerUnavailable
from mts1b_platform.eventbus.jetstream.api import where
from mts1b_platform.eventbus.session import RECONNECT_WAIT, reconsider, survive_endings
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.connection")

_LOOK = 0.02

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
    tls_dir: Path | None = None,
    tls_ca: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    token: str | None = None,
    token_file: Path | None = None,
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
        tls_dir: directory with the authorities and certificates of services (``mts1b-deploy pki`` makes one).
        tls_ca: file of the authorities to trust, in place of the directory's.
        tls_cert: file of this process's certificate, in place of the directory's.
        tls_key: file of its key, when it is not in the same file.
        token: a person's token.
        token_file: file with a person's token, read anew at every connect.
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
        tls_dir=tls_dir,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
        token=token,
        token_file=token_file,
    )
    bus = EventBus(settings)
    refusals: list[Exception] = []
    options = {**_callbacks(bus, refusals), **_defaults(settings), **bus.identity.options(), **nats_options}
    survive_endings(bus)
    try:
        async with asyncio.timeout(settings.connect_timeout):
            await _dial(bus, refusals, options)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        await bus.close()
        raise bus.identity.expired() or _explain(bus, error, refusals) from None
    if not bus.is_connected:
        await bus.close()
        raise bus.identity.expired() or _explain(bus, bus.last_error or TimeoutError(), refusals)
    try:
        _attach_hooks(bus)
    except BaseException:
        await bus.close()
        raise
    await bus.open()
    bus.came_up()
    log.debug("connected", server=where(bus), service=bus.service)
    return bus


async def _dial(bus: EventBus, refusals: list[Exception], options: dict[str, Any]) -> None:
    """Connect; nats-py tries until it is stopped, which is no use when every server has refused the identity."""
    servers = list(bus.settings.servers)
    dialling = asyncio.ensure_future(bus.connect(servers, **options))
    try:
        while not dialling.done():
            await asyncio.wait([dialling], timeout=_LOOK)
            if sum(map(_is_refusal, refusals)) >= len(servers):
                raise nats.errors.AuthorizationError
        await dialling
    finally:
        await end(dialling)


def _attach_hooks(bus: EventBus) -> None:
    """Let those watch who contribute to the entry point group, when the settings ask for watching at all."""
    if bus.settings.watched:
        for entry in entry_points(group=HOOKS_GROUP):
            entry.load()(bus)


def _defaults(settings: Settings) -> dict[str, Any]:
    return {
        "name": settings.service or "mts1b",
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_WAIT,
        "connect_timeout": 2,
        "ping_interval": 1,
        "max_outstanding_pings": 2,
    }


def _callbacks(bus: EventBus, refusals: list[Exception]) -> dict[str, Any]:
    async def on_error(error: Exception) -> None:
        bus.counters.errors += 1
        if (denied := bus.denials.heard(str(error))) is not None:
            log.warning("the server refuses", error=str(denied))
        elif not bus.is_connected:
            reconsider(bus, refused=_is_refusal(error))
            refusals[:] = [*refusals[-9:], error]
            log.debug("connection attempt failed", error=str(error) or type(error).__name__)
        else:
            log.warning("the server or the connection reports an error", error=str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        bus.went_down()
        reconsider(bus)
        if not bus.is_closed:
            bus.counters.disconnects += 1
            log.warning("connection lost; reconnecting", service=bus.service)

    async def on_reconnect() -> None:
        bus.counters.reconnects += 1
        bus.came_up()
        bus.options["reconnect_time_wait"] = RECONNECT_WAIT
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


def _explain(bus: EventBus, error: BaseException, refusals: list[Exception]) -> BusError:
    settings = bus.settings
    servers = ", ".join(_without_credentials(server) for server in settings.servers)
    refusal = next((seen for seen in (error, *refusals) if _is_refusal(seen)), None)
    if refusal is not None:
        return AccessDenied(f"the NATS server at {servers} refuses this identity ({bus.identity.name}): {_remedy(bus)}")
    distrust = next((seen for seen in (error, *refusals) if isinstance(seen, ssl.SSLCertVerificationError)), None)
    if distrust is not None:
        return ServerUnavailable(
            f"what answers at {servers} is not to be trusted: {distrust.verify_message or distrust}. Set MTS1B_TLS_CA "
            "(or MTS1B_TLS_DIR) to the authority that signed the server, and dial it by a name in its certificate"
        )
    last = refusals[-1] if refusals else error
    why = str(last) or type(last).__name__
    return ServerUnavailable(
        f"no NATS server at {servers} ({why}): start one with `mts1b-deploy install --profile minimal --include nats`, "
        "or point MTS1B_NATS_URL at one that runs"
    )


def _remedy(bus: EventBus) -> str:
    if bus.identity.has_token:
        return "its token is not accepted; `mts1b login` gets a new one"
    if bus.identity.certificate is None:
        return "it has no certificate; set MTS1B_SERVICE and MTS1B_TLS_DIR (or MTS1B_TLS_CERT), or `mts1b login`"
    return (
        f"its certificate {bus.identity.certificate} is unknown there, ended, or signed by another authority; "
        "`mts1b-deploy pki ls` says which"
    )


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return False  # it is we who refuse
    return isinstance(error, nats.errors.AuthorizationError | ssl.SSLError) or "authorization" in str(error).lower()


def _without_credentials(server: str) -> str:
    parts = urlsplit(server)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"
