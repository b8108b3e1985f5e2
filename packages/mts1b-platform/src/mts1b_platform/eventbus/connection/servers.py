"""The servers that may be dialled: those of the options, and those that they tell of."""

import ipaddress
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from mts1b_platform.eventbus.errors import InvalidArgument

_PORTS: Final = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Server:
    """One place to dial."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls_name: str = ""
    """The name that its certificate must have; the host's when empty."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            InvalidArgument: it is none, or of an unknown scheme.
        """
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if parts.scheme not in _PORTS:
            raise InvalidArgument(f"{url!r} is no URL of a NATS server: nats://, tls://, ws:// or wss:// and a host")
        user = unquote(parts.username) if parts.username is not None else None
        password = unquote(parts.password) if parts.password is not None else None
        return cls(parts.scheme, parts.hostname or "localhost", parts.port or _PORTS[parts.scheme], user, password)

    def __str__(self) -> str:
        """Its URL without credentials."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """Whether its address is one of this host's own."""
        return self.host == "localhost" or (is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    @property
    def websocket(self) -> bool:
        """Whether it is spoken to over a WebSocket."""
        return self.scheme in {"ws", "wss"}

    @property
    def wants_tls(self) -> bool:
        """Whether its URL asks for TLS."""
        return self.scheme in {"tls", "wss"}

    def neighbour(self, address: str) -> Self:
        """A server of the same cluster, as this one names it (``host:port``).

        Raises:
            ValueError: that is no address.
        """
        parts = urlsplit(f"//{address}")
        if not parts.hostname or parts.port is None:
            raise InvalidArgument(f"{address!r} is no host and port")
        name = (self.tls_name or self.host) if is_address(parts.hostname) else ""
        return type(self)(self.scheme, parts.hostname, parts.port, self.user, self.password, name)


class ServerPool:
    """Which server is dialled next."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._configured = [Server.parse(url) for url in urls]
        self._discovered: list[Server] = []
        self._next = 0
        self._failures = count(1)
        self._failed: dict[str, int] = {}  # by address that has not answered since: the number of its last failure

    def __str__(self) -> str:
        return ", ".join(map(str, self._configured))

    def __len__(self) -> int:
        return len(self._configured) + len(self._discovered)

    def in_order(self) -> list[Server]:
        """All servers, the one to be tried first at the front."""
        servers = [*self._configured, *self._discovered]
        at = self._next % len(servers)
        return servers[at:] + servers[:at]

    def connected(self, server: Server) -> None:
        """This one answered: should it be lost, the one behind it is tried first."""
        servers = [*self._configured, *self._discovered]
        self._next = servers.index(server) + 1 if server in servers else 0

    def discovered(self, teller: Server, addresses: object) -> None:
        """Take note of the cluster's servers as ``teller`` names them, in place of those named before."""
        if not isinstance(addresses, list):
            return
        known = {(server.host, server.port) for server in self._configured}
        found: list[Server] = []
        for address in addresses:  # pyright: ignore[reportUnknownVariableType] - the server's JSON
            try:
                server = teller.neighbour(str(address))  # pyright: ignore[reportUnknownArgumentType]
            except ValueError:
                continue
            if (server.host, server.port) not in known:
                found.append(server)
        self._discovered = found

    def sorted_addresses(self, addresses: list[str]) -> list[str]:
        """The addresses of one host, each once: families in turn (RFC 8305), the one that failed last at the end."""
        first_family = [address for address in addresses if (":" in address) == (":" in addresses[0])]
        other_family = [address for address in addresses if (":" in address) != (":" in addresses[0])]
        in_turn = [a for pair in zip_longest(first_family, other_family) for a in pair if a is not None]
        return sorted(dict.fromkeys(in_turn), key=lambda address: self._failed.get(address, 0))

    def failed(self, address: str) -> None:
        """Note that dialling this address has failed."""
        self._failed[address] = next(self._failures)

    def answered(self, address: str) -> None:
        """Note that this address has let us in."""
        self._failed.pop(address, None)


def is_address(host: str) -> bool:
    """Whether this is an address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
