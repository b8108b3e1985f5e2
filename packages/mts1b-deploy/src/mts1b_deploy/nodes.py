"""The nodes of a cluster as people name them: ``n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3``."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mts1b_deploy.errors import UnknownName

DEFAULT_CLUSTER_PORT = 6222
DEFAULT_LEAF_PORT = 7422
"""Where another site connects."""
QUORUM = 3
"""Nodes that a stream of profile production needs for its three copies."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_BRACKETED = re.compile(r"\[([^]]*)\]((?::[^:]*)*)")


def address(host: str, port: int) -> str:
    """``host:port`` as URLs and configurations spell it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Peer:
    """One node: its name, and where the others and the clients find it."""

    name: str
    host: str
    cluster_port: int
    port: int

    def __str__(self) -> str:
        return f"{self.name}={address(self.host, self.cluster_port)}:{self.port}"

    @property
    def certificate(self) -> str:
        """Under which name its certificate is kept."""
        return f"node-{self.name}"

    @property
    def listen_host(self) -> str:
        """The address to listen on: its own, or every one when only a host name is known."""
        try:
            return str(ipaddress.ip_address(self.host))
        except ValueError:
            return "0.0.0.0"  # noqa: S104 - behind mutual TLS; `--listen` narrows it


def peers_named(text: str, *, cluster_port: int, port: int, option: str = "--peers") -> tuple[Peer, ...]:
    """The nodes in a comma-separated list of ``name=host[:cluster-port[:client-port]]``, or of host names alone.

    Raises:
        UnknownName: one cannot be read, or two have the same name or address; the message speaks of ``option``.
    """
    peers = tuple(_peer(part.strip(), cluster_port, port, option) for part in text.split(",") if part.strip())
    for what, values in (
        ("name", [peer.name for peer in peers]),
        ("address", [address(peer.host, peer.cluster_port) for peer in peers]),
    ):
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise UnknownName(f"{option} has the {what} {', '.join(twice)} twice: each needs its own")
    return peers


def peer_named(name: str | None, peers: Sequence[Peer]) -> Peer:
    """The node that is being installed.

    Raises:
        UnknownName: it is not among the peers.
    """
    if not peers or name is None:
        raise UnknownName(
            "profile production is a member of a cluster: name all of its nodes and this one, such as "
            "--node n1 --peers n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3"
        )
    if found := next((peer for peer in peers if peer.name == name), None):
        return found
    raise UnknownName(f"--node {name} is not among --peers {', '.join(peer.name for peer in peers)}: list it there too")


def _peer(text: str, cluster_port: int, port: int, option: str) -> Peer:
    named, _, place = text.rpartition("=")
    bracketed = _BRACKETED.fullmatch(place)
    host, *ports = [bracketed[1], *bracketed[2].split(":")[1:]] if bracketed else place.split(":")
    name = named or host.partition(".")[0].lower()
    try:
        numbers = [int(each) for each in ports]
    except ValueError:
        numbers = [0]
    what, between = ("node", "cluster-port") if option == "--peers" else ("site", "leaf-port")
    if (
        not _NAME.fullmatch(name)
        or not (_is_ipv6(host) if bracketed else _HOST.fullmatch(host))
        or len(numbers) > 2
        or not all(0 < each < 65536 for each in numbers)
    ):
        raise UnknownName(
            f"{option}: {text!r} names no {what}. Write name=host, or name=host:{between}:client-port, with a name of "
            "lower-case letters, digits and -, and a host name, an IPv4 address, or an IPv6 address in brackets: "
            f"n1=[fd00::1]:{cluster_port}"
        )
    return Peer(name, host, *numbers, *(cluster_port, port)[len(numbers) :])


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
