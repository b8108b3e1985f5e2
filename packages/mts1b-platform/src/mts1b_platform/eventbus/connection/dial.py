"""From a list of servers to a link that a server has let in: every address in turn, each within its time limit."""

import json
import ssl
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final

from mts1b_platform.eventbus.connection.link import Link
from mts1b_platform.eventbus.connection.network import Clock, Network
from mts1b_platform.eventbus.connection.options import ConnectionOptions, Credentials
from mts1b_platform.eventbus.connection.refusal import is_refusal
from mts1b_platform.eventbus.connection.servers import Server, ServerPool, is_address
from mts1b_platform.eventbus.connection.timing import Limit
from mts1b_platform.eventbus.errors import IdentityRefused, ProtocolViolation, ServerError, ServerUnavailable

_VERSION: Final = version("mts1b-platform")


class Dialler:
    """Dials for one connection.

    Args:
        options: whom to dial, and as whom.
        network: what opens sockets.
        clock: what limits the time for an address.
        new_link: makes a link of the connection, its parser ready for another server.
        report: is told of every address that did not work out.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        network: Network,
        clock: Clock,
        new_link: Callable[[], Link],
        report: Callable[[Exception], None],
    ) -> None:
        self.pool = ServerPool(options.servers)
        self.server: Server | None = None
        """The one that let us in last."""
        self.address = ""
        """Its address."""
        self._options = options
        self._network = network
        self._clock = clock
        self._new_link = new_link
        self._report = report
        self._stage = ""

    async def dial(self) -> Link:
        """Try every address of every server once, until one lets us in.

        Raises:
            IdentityRefused: each of them refuses this identity.
            ServerUnavailable: none answered as it should; says what the last one did.
        """
        failures: list[Exception] = []
        for server in self.pool.in_order():
            for address in await self._addresses(server, failures):
                try:
                    link = await self._dial_within_limit(server, address)
                except Exception as error:  # noqa: BLE001 - whatever it was, the next address may be better
                    self.pool.failed(address)
                    failures.append(error)
                    self._report(error)
                    continue
                self.pool.answered(address)
                self.pool.connected(server)
                self.server, self.address = server, address
                return link
        last = failures[-1]
        if all(map(is_refusal, failures)):
            raise IdentityRefused(f"the NATS server at {self.pool} refuses this identity: {last}") from last
        raise ServerUnavailable(f"no NATS server at {self.pool}: {str(last) or type(last).__name__}") from last

    async def _addresses(self, server: Server, failures: list[Exception]) -> list[str]:
        if is_address(server.host):
            return [server.host]
        try:
            with Limit(self._clock, self._options.connect_timeout):
                if found := await self._network.resolve(server.host, server.port):
                    return self.pool.sorted_addresses(found)
            raise OSError("it has no address")
        except (OSError, ValueError) as error:  # ValueError: no name at all
            why = str(error) or f"no answer within {self._options.connect_timeout:g} s"
            unknown = ServerUnavailable(f"{server}: its name cannot be resolved: {why}")
            failures.append(unknown)
            self._report(unknown)
            return []

    async def _dial_within_limit(self, server: Server, address: str) -> Link:
        link = self._new_link()
        self._stage = "did not answer"
        try:
            with Limit(self._clock, self._options.connect_timeout):
                await self._log_in(link, server, address)
        except TimeoutError as error:
            silent = ServerUnavailable(
                f"{server} at {address} {self._stage} within {self._options.connect_timeout:g} s"
            )
            link.end(silent)
            raise silent from error
        except BaseException as error:
            link.end(error if isinstance(error, Exception) else None)
            if isinstance(error, OSError) and isinstance(reason := link.ended.result(), ServerError):
                raise reason from error  # the server hung up with a word: that says more than what the socket says
            raise
        return link

    async def _log_in(self, link: Link, server: Server, address: str) -> None:
        credentials = self._options.credentials()
        if server.websocket:
            context = (credentials.tls or ssl.create_default_context()) if server.wants_tls else None
            url = str(replace(server, host=server.tls_name or server.host))
            link.connection_made_by(await self._network.dial_websocket(url, address, link, context))
            self._stage = "took the connection and sent no greeting"
            info = await link.info
            secure = server.wants_tls
        else:
            link.connection_made_by(await self._network.dial(address, server.port, link))
            self._stage = "took the connection and sent no greeting"
            info = await link.info
            secure = server.wants_tls or credentials.tls is not None or bool(info.get("tls_required"))
            if secure:
                await self._secure(link, server, info, credentials)
        self._stage = "did not finish the login"
        pong = link.expect_pong()
        link.write(connect_line(self._options, credentials, server, secure=secure) + b"PING\r\n")
        await pong

    async def _secure(self, link: Link, server: Server, info: dict[str, Any], credentials: Credentials) -> None:
        if not (info.get("tls_required") or info.get("tls_available")):
            raise ProtocolViolation(
                f"{server} offers no TLS; use a nats:// URL and no certificates for it, or set it up"
            )
        link.begin_tls()
        self._stage = "did not finish the TLS handshake"
        context = credentials.tls or ssl.create_default_context()
        link.connection_made_by(await self._network.secure(link.plain(), link, context, server.tls_name or server.host))


def connect_line(options: ConnectionOptions, credentials: Credentials, server: Server, *, secure: bool) -> bytes:
    """The line with which a client introduces itself."""
    told: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "lang": "python-mts1b",
        "version": _VERSION,
        "protocol": 1,
        "headers": True,
        "no_responders": True,
        "name": options.name,
        "echo": options.echo,
        "tls_required": secure,
    }
    if server.user is not None and server.password is not None:
        told |= {"user": server.user, "pass": server.password}
    elif server.user is not None:
        told["auth_token"] = server.user
    if credentials.user is not None:
        told |= {"user": credentials.user, "pass": credentials.password or ""}
    if credentials.token is not None:
        told["auth_token"] = credentials.token
    return b"CONNECT %b\r\n" % json.dumps(told, separators=(",", ":")).encode()
