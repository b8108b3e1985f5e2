"""Checks of the running server: pure functions of its ``/varz`` page, of pings and of its sockets."""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mts1b_platform.server.binary import MINIMUM_VERSION

from mts1b_deploy.doctor.deviation import Deviation, Severity

CLOCK_TOLERANCE = 1.0
"""Seconds by which a node's clock may be off: certificates and message ages rest on it."""

_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Ping:
    """One node's answer to a ping of the whole cluster."""

    node: str
    version: str
    ahead: float
    """Seconds by which its clock is ahead of ours, right to half of the round trip."""
    trip: float = 0.0
    """Seconds from the request to the answer."""

    @property
    def unsure(self) -> bool:
        """Whether a clock that is right could seem to be off."""
        return self.trip / 2 > CLOCK_TOLERANCE


def check_version(node: str, version: str) -> Iterator[Deviation]:
    """Older servers silently ignore settings that the guarantees rest on."""
    found = _NUMBERS.match(version)
    needed = ".".join(map(str, MINIMUM_VERSION))
    if found is None or tuple(map(int, found.groups())) < MINIMUM_VERSION:
        yield Deviation(
            "server-version",
            f"{node} runs nats-server {version}; guarantees and permissions need {needed} or newer",
            "`mts1b-deploy upgrade` on that node",
        )


def check_storing(varz: Mapping[str, Any], severity: Severity) -> Iterator[Deviation]:
    """Whether an acknowledgement means "on the disk", and requests are read strictly."""
    config: Mapping[str, Any] = varz.get("jetstream", {}).get("config", {})
    if not config:
        yield Deviation("no-jetstream", "JetStream is off: nothing is stored", "`mts1b-deploy install` writes it back")
        return
    if not config.get("sync_always"):
        seconds = config.get("sync_interval", 0) / 1e9
        yield Deviation(
            "lazy-fsync",
            f"acknowledged messages reach the disk up to {seconds:g} s later: a power cut loses them",
            'sync_interval: "always", as profiles single and production have it; `mts1b-deploy install --overwrite`',
            severity,
        )
    if not config.get("strict"):
        yield Deviation(
            "strict-off",
            "JetStream takes requests with fields that it does not know: a client can slip options past us",
            "strict: true in the jetstream block; `mts1b-deploy install --overwrite` writes it back",
            severity,
        )


def check_access(varz: Mapping[str, Any], severity: Severity) -> Iterator[Deviation]:
    """Whether the server accepts clients without authentication."""
    if not varz.get("auth_required"):
        yield Deviation(
            "no-authentication",
            "whoever reaches the port can read, publish and delete",
            "install profile single or production",
            severity,
        )
    if not varz.get("tls_required"):
        yield Deviation(
            "no-encryption", "what goes over the wire can be read", "install profile single or production", severity
        )


def check_sockets(listening: Collection[tuple[str, int]], public_ports: Collection[int]) -> Iterator[Deviation]:
    """Whether something listens to the network that asks for no certificate: the monitoring, above all."""
    for host, port in sorted(listening):
        if port not in public_ports and not ipaddress.ip_address(host).is_loopback:
            yield Deviation(
                "open-monitoring",
                f"the server answers whoever asks on {host}:{port}: subjects, clients and figures are open",
                'http: "127.0.0.1:…" in nats.conf; `mts1b-deploy install --overwrite` writes it back',
            )


def check_pings(pings: Collection[Ping], nodes: Collection[str]) -> Iterator[Deviation]:
    """Whether every node answers, with the right time and a new enough server."""
    for node in sorted(set(nodes) - {ping.node for ping in pings}):
        yield Deviation(
            "node-missing", f"node {node} does not answer", "`mts1b-deploy start` on its host, then `mts1b-deploy logs`"
        )
    for ping in pings:
        yield from check_version(ping.node, ping.version)
        if abs(ping.ahead) - ping.trip / 2 > CLOCK_TOLERANCE:
            yield Deviation(
                "clock-skew",
                f"the clock of {ping.node} is {abs(ping.ahead):.1f} s {'ahead of' if ping.ahead > 0 else 'behind'} "
                "this host's: certificates, message ages and lag go wrong",
                "set both clocks by NTP (`timedatectl set-ntp true`)",
            )
