"""What can be installed: profiles and the parts they consist of.

A profile is data: a template, the words that people read about it, and the parts it may include. A further one
is a further entry in ``PROFILES`` and its template in ``nats/``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mts1b_platform.config import Profile as ProfileName

from mts1b_deploy.errors import UnknownName

DEFAULT_PROFILE = "minimal"
DEFAULT_PORT = 4222
DEFAULT_MONITOR_PORT = 8222
DEFAULT_WEBSOCKET_PORT = 8443
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Part:
    """Something that ``--include`` can name."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to install the bus."""

    name: ProfileName
    summary: str
    template: str
    """The server's configuration, a file in ``mts1b_deploy/nats``."""
    parts: tuple[str, ...]
    secure: bool = True
    """Certificates for services, tokens for people, fsync before every acknowledgement."""
    clustered: bool = False
    """Whether it is one node of several."""
    forwards: bool = False
    """Whether another site copies what it stores."""
    warnings: tuple[str, ...] = ()
    """A warning that every install and status prints."""


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "nats": Part("nats", "nats-server with JetStream"),
        "observability": Part("observability", "settings for Prometheus and Grafana: scraping, alerts, dashboards"),
    }
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "minimal": Profile(
            name="minimal",
            summary="one server on this machine's loopback, without authentication",
            template="minimal.conf.j2",
            parts=("nats", "observability"),
            secure=False,
            warnings=(
                "no authentication: development only. Every process on this machine can read, publish and delete",
                "acknowledged messages survive a crash of the server, but a power cut may lose the last two minutes",
            ),
        ),
        "single": Profile(
            name="single",
            summary="one node, locked down, synced to disk before it acknowledges",
            template="single.conf.j2",
            parts=("nats", "observability"),
        ),
        "edge": Profile(
            name="edge",
            summary="one node at another place, as single, from which a hub copies what it stores",
            template="single.conf.j2",
            parts=("nats", "observability"),
            forwards=True,
        ),
        "production": Profile(
            name="production",
            summary="a member of a cluster, locked down, three copies, synced to disk before it acknowledges",
            template="production.conf.j2",
            parts=("nats", "observability"),
            clustered=True,
        ),
    }
)


def profile_named(name: str) -> Profile:
    """The profile of this name.

    Raises:
        UnknownName: there is none; the message lists those that are.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UnknownName(f"no profile {name!r} can be installed: choose --profile {' or '.join(PROFILES)}") from None


def parts_named(include: str, profile: Profile) -> tuple[str, ...]:
    """The parts that a comma-separated list names, each once, in the order of ``PARTS``.

    Raises:
        UnknownName: one does not exist or the profile has no such part, or none is named.
    """
    wanted = {name.strip() for name in include.split(",") if name.strip()}
    known = [name for name in PARTS if name in profile.parts]
    if unknown := sorted(wanted - set(known)):
        raise UnknownName(
            f"profile {profile.name} has no part {', '.join(map(repr, unknown))}: --include takes {', '.join(known)}"
        )
    if not wanted:
        raise UnknownName(f"--include names no part: it takes {', '.join(known)}")
    if "nats" not in wanted:
        raise UnknownName(f"--include leaves nats out, which is what is installed: it takes {', '.join(known)}")
    return tuple(name for name in known if name in wanted)
