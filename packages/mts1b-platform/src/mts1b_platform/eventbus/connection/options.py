"""How a connection is made and kept: a closed list of options, each with its unit."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from mts1b_platform.eventbus.errors import InvalidArgument
from mts1b_platform.eventbus.limits import check_count, check_seconds


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Who connects. Never shown: it holds secrets."""

    tls: ssl.SSLContext | None = None
    """Authorities to trust, and the certificate to present. With one, no server is spoken to without TLS."""
    token: str | None = None
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return "<Credentials>"


def _nobody() -> Credentials:
    return Credentials()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """The options of a :class:`~mts1b_platform.eventbus.connection.connection.Connection`.

    Raises:
        InvalidArgument: there is no server, or a limit cannot be.
    """

    servers: tuple[str, ...]
    """URLs, tried in turn: ``nats://``, ``tls://``, ``ws://`` or ``wss://``, with port (4222, 80 or 443 when left
    out), and with ``user:password@`` or ``token@`` where these are no secret."""
    credentials: Callable[[], Credentials] = _nobody
    """Asked before each address is dialled, so that renewed certificates and tokens are presented. When it raises,
    that dial has failed."""
    name: str = "mts1b"
    """What the server shows for this connection."""
    inbox_prefix: str = "_INBOX"
    """First tokens of the subjects that answers are received on."""
    echo: bool = True
    """Whether the server sends what this connection publishes to its own subscriptions too."""
    discover: bool = True
    """Whether further servers of the cluster, which the server names, are dialled too."""
    connect_timeout: float = 2.0
    """Seconds for one address: name resolution, TCP, TLS and login together."""
    ping_interval: float = 1.0
    """Seconds between looks for a sign of life."""
    max_outstanding_pings: int = 2
    """Unanswered PINGs after which a silent server is given up: with the interval of a second, within three."""
    reconnect_wait: float = 0.1
    """Seconds between two rounds through all addresses; multiplied by a jitter of 0.5 to 1."""
    refused_wait: float = 5.0
    """Most seconds between two rounds when the servers refuse the identity; the wait doubles up to here."""
    buffer_size: int = 2 * 1024 * 1024
    """Most bytes that wait for the server, while it is slow or away."""
    high_water: int = 256 * 1024
    """Waiting bytes from which on a sender should await ``writable()``."""
    read_buffer: int = 128 * 1024
    """Most bytes of one read: the messages in it are delivered together."""
    last_write: float = 2.0
    """Most seconds that closing waits for the server to take what is not written yet."""

    def __post_init__(self) -> None:
        if not self.servers:
            raise InvalidArgument("at least one server is needed, such as nats://127.0.0.1:4222")
        for name in ("connect_timeout", "ping_interval", "reconnect_wait"):
            check_seconds(name, getattr(self, name))
        for name in ("max_outstanding_pings", "buffer_size", "high_water", "read_buffer"):
            check_count(name, getattr(self, name))


def _ignore(*_: object) -> None:
    """Does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """Whom a connection tells what.

    All are called in its event loop and must not block. What they raise is reported to :attr:`error`.
    """

    error: Callable[[Exception], object] = field(default=_ignore)
    """Something went wrong that no caller was told: a failed dial, a broken connection, an error of a subscription's
    callback, an error line of the server (``ServerError``), frames that were dropped."""
    server_said: Callable[[str], object] = field(default=_ignore)
    """The words of an error line (``-ERR``) as the server spelled them, before :attr:`error` is told."""
    disconnected: Callable[[], object] = field(default=_ignore)
    """The connection broke, and will be made again."""
    reconnected: Callable[[], object] = field(default=_ignore)
    """It stands again, and its subscriptions with it."""
    before_dial: Callable[[bool], object] = field(default=_ignore)
    """A round through all addresses begins; the argument says whether the servers refused the identity last time. A
    ``BusError`` that it raises closes the connection for good, with that as its reason."""
