"""Connecting: settings in, a bus out, or an error that says what to start."""

import re
import ssl
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, TypedDict

from mts1b_platform.config import Settings
from mts1b_platform.eventbus.bus import EventBus
from mts1b_platform.eventbus.connection.network import Chance, Clock, Network
from mts1b_platform.eventbus.connection.options import ConnectionOptions
from mts1b_platform.eventbus.connection.refusal import is_refusal
from mts1b_platform.eventbus.connection.servers import Server
from mts1b_platform.eventbus.core import say_what_is_at_work
from mts1b_platform.eventbus.errors import AccessDenied, BusError, InvalidArgument, ServerUnavailable
from mts1b_platform.eventbus.in_python import called_in_python
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.connection")

_FULL: Final = re.compile(r"maximum (account active )?connections exceeded", re.IGNORECASE)

_START_HERE: Final = (
    "start one with `mts1b-deploy install --profile minimal --include nats`, or point MTS1B_NATS_URL at one that runs"
)
_LOOK_THERE: Final = (
    "`mts1b-deploy status` on that host says whether it runs; if so, see that this host may reach the port, and that "
    "the address is right"
)

HOOKS_GROUP: Final = "mts1b.hooks"
"""Entry point group of functions that are given each new bus and may set hooks on it."""


class ConnectOptions(TypedDict, total=False):
    """The options of :func:`connect` for those who hand them on, and say themselves which service they are."""

    servers: str | Sequence[str] | None
    actor: str | None
    profile: str | None
    config: str | Path | None
    connect_timeout: float | None
    tls_dir: Path | None
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    token: str | None
    token_file: Path | None
    watched: bool
    ping_interval: float
    reconnect_wait: float
    buffer_size: int
    network: Network | None
    clock: Clock | None
    chance: Chance | None


def check_connect_options(name: str, options: Mapping[str, object]) -> None:
    """What ``name`` hands on to :func:`connect`.

    Raises:
        InvalidArgument: an option that ``connect()`` does not have.
    """
    if unknown := options.keys() - ConnectOptions.__annotations__.keys():
        raise InvalidArgument(
            f"{name}: there is no option {', '.join(sorted(unknown))}; connect() has "
            f"{', '.join(ConnectOptions.__annotations__)}"
        )


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
    name: str | None = None,
    watched: bool = True,
    ping_interval: float = 1.0,
    reconnect_wait: float = 0.1,
    buffer_size: int = 2 * 1024 * 1024,
    network: Network | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
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
        name: what the server shows for this connection; the service's name when left out.
        watched: whether the audit log and traces that the settings ask for watch this bus. Without, a connection does
            not depend on either.
        ping_interval: seconds between looks for a sign of life from the server; after three without one the connection
            is made anew.
        reconnect_wait: seconds between two attempts to reach a server that is away, with jitter.
        buffer_size: most bytes that wait for a server that is slow or away.
        network: what opens sockets, for tests without a network.
        clock: what time it is, for tests on virtual time.
        chance: where inboxes and jitter come from, for tests that repeat.

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
    options = ConnectionOptions(
        servers=settings.servers,
        name=name or settings.service or "mts1b",
        ping_interval=ping_interval,
        reconnect_wait=reconnect_wait,
        buffer_size=buffer_size,
    )
    bus = EventBus(settings, options, network=network, clock=clock, chance=chance)
    try:
        await bus.connection.connect(settings.connect_timeout)
    except BusError as error:
        raise bus.identity.expired() or _explain(bus, error) from None
    try:
        if watched:
            _attach_hooks(bus)
    except BaseException:
        await bus.close()
        raise
    bus.came_up()
    say_what_is_at_work(tuple(called_in_python(bus.hooks)))
    log.debug("connected", server=str(bus.connected_url), service=bus.service)
    return bus


def _attach_hooks(bus: EventBus) -> None:
    """Let those watch who contribute to the entry point group, when the settings ask for watching at all."""
    if bus.settings.watched:
        for entry in entry_points(group=HOOKS_GROUP):
            entry.load()(bus)


def _explain(bus: EventBus, error: BusError) -> BusError:
    servers = ", ".join(str(Server.parse(server)) for server in bus.settings.servers)
    seen = [error, *bus.dial_errors]
    if any(map(is_refusal, seen)):
        return AccessDenied(f"the NATS server at {servers} refuses this identity ({bus.identity.name}): {_remedy(bus)}")
    if bus.identity.has_token and any("maximum control line" in str(each).lower() for each in seen):
        return AccessDenied(
            f"the token has {len(bus.identity.token())} bytes, more than the server takes in a line "
            f"(max_control_line in its configuration): have the provider put less into it"
        )
    if (full := next((each for each in seen if _FULL.search(str(each))), None)) is not None:
        return ServerUnavailable(
            f"the NATS server at {servers} takes no further connection ({full}): end some (`mts1b auth sessions` lists "
            "those of people), or raise the limit in its configuration"
        )
    distrust = next((each for each in seen if isinstance(each, ssl.SSLCertVerificationError)), None)
    if distrust is not None:
        return ServerUnavailable(
            f"what answers at {servers} is not to be trusted: {distrust.verify_message or distrust}. Set MTS1B_TLS_CA "
            "(or MTS1B_TLS_DIR) to the authority that signed the server, and dial it by a name in its certificate"
        )
    last = bus.dial_errors[-1] if bus.dial_errors else error
    why = str(last) or type(last).__name__
    here = any(Server.parse(server).is_here for server in bus.settings.servers)
    return ServerUnavailable(f"no NATS server at {servers} ({why}): {_START_HERE if here else _LOOK_THERE}")


def _remedy(bus: EventBus) -> str:
    if bus.identity.has_token:
        return (
            "its token is not accepted, or nobody answers for people (`mts1b auth serve` does, and logs why); "
            "`mts1b token show` says what is in it, `mts1b login` takes a new one"
        )
    if bus.identity.certificate is None:
        return "it has no certificate; set MTS1B_SERVICE and MTS1B_TLS_DIR (or MTS1B_TLS_CERT), or `mts1b login`"
    return (
        f"its certificate {bus.identity.certificate} is unknown there, ended, or signed by another authority; "
        "`mts1b-deploy pki ls` says which"
    )
