"""The record of an installation: what was asked for, and which files were written with which content."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mts1b_deploy.errors import ConfigFileError, NotInstalled
from mts1b_deploy.layout import Layout
from mts1b_deploy.nodes import DEFAULT_CLUSTER_PORT, DEFAULT_LEAF_PORT, Peer, address, peers_named
from mts1b_deploy.profiles import DEFAULT_PORT, LOOPBACK

SupervisorName = Literal["systemd", "systemd-system", "detached"]
"""A user unit, a unit of the whole machine (root only), or a process of its own."""

_EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - compared with, not bound to


class InstallRecord(BaseModel):
    """``etc/install.json``. Written last, so that it exists only for a finished installation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    mts1b_version: str
    profile: str
    include: tuple[str, ...]
    host: str
    port: int
    monitor_port: int
    supervisor: SupervisorName
    server_version: str
    server_source: str
    node: str | None = None
    """Of a cluster member: its name."""
    peers: tuple[str, ...] = ()
    """Of a cluster member: all nodes, itself included, as ``name=host:cluster-port:client-port``."""
    site: str | None = None
    """The name of this site, also that of its JetStream domain."""
    sites: tuple[str, ...] = ()
    """The sites that stand in for each other, this one included, as ``name=host:leaf-port:client-port``."""
    mirrors: str | None = None
    """Of a mirror: the site whose streams it copies."""
    edges: tuple[str, ...] = ()
    """Of a hub: the edges that forward to it."""
    hubs: tuple[str, ...] = ()
    """Of an edge: the nodes of the hub that it forwards to."""
    leaf_port: int | None = None
    """Where other sites connect, when ``sites`` does not say."""
    names: tuple[str, ...] = ()
    """Host names and addresses in the server's certificate: what clients may dial."""
    websocket_port: int | None = None
    """Where people connect."""
    encrypted: bool = False
    """Whether what is stored is encrypted."""
    checkouts: tuple[Path, ...] = ()
    """Checkouts whose subjects, streams and durables count as declared beside those of installed packages."""
    handed: dict[str, tuple[str, ...]] = {}
    """By system user, whose certificates it is given copies of."""
    services: tuple[str, ...] = ()
    """Services of this host that run as units."""
    release: Path | None = None
    """The environment that they run, when it is another one than their file says."""
    release_before: Path | None = None
    """The one that a rollback brings back."""
    release_under_way: bool = False
    """Whether a change of release was begun; true behind one that was killed."""
    timers: tuple[str, ...] = ()
    """What it does from time to time."""
    files: dict[str, str]
    """Path → SHA-256 of what was written. Empty for a file that was there before: ``uninstall`` keeps it."""

    @property
    def secure(self) -> bool:
        """Whether clients need a certificate or a token."""
        return self.profile != "minimal"

    @property
    def clustered(self) -> bool:
        """Whether this is one node of several."""
        return self.node is not None

    @property
    def listen_host(self) -> str:
        """Where clients connect; a mirror lets nobody in who is not on its own machine."""
        return LOOPBACK if self.mirrors else self.host

    @property
    def probe_host(self) -> str:
        """Where this machine itself reaches the server."""
        return _EVERYWHERE.get(self.listen_host, self.listen_host)

    @property
    def public_host(self) -> str:
        """What others dial: the first name in the certificate."""
        return self.names[0] if self.names else _EVERYWHERE.get(self.host, self.host)

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"{'tls' if self.secure else 'nats'}://{address(self.public_host, self.port)}"

    @property
    def nodes(self) -> tuple[Peer, ...]:
        """Every node of the cluster; none when this is no member of one."""
        return peers_named(",".join(self.peers), cluster_port=DEFAULT_CLUSTER_PORT, port=self.port)

    @property
    def urls(self) -> tuple[str, ...]:
        """What clients may connect to: this node first, and then the other site."""
        others = [peer for peer in self.nodes if peer.name != self.node] or self.other_sites
        return (self.url, *(f"tls://{address(peer.host, peer.port)}" for peer in others))

    @property
    def other_sites(self) -> list[Peer]:
        """The sites that stand in for this one; their cluster port is that for leaf connections."""
        return [each for each in places(self.sites) if each.name != self.site]

    @property
    def people_urls(self) -> tuple[str, ...]:
        """Where people may connect: this node first. The others are taken to listen on the same port."""
        if not self.websocket_port:
            return ()
        others = [peer for peer in self.nodes if peer.name != self.node] or self.other_sites
        hosts = [self.public_host, *(peer.host for peer in others)]
        return tuple(f"wss://{address(host, self.websocket_port)}" for host in hosts)

    def server_name(self, layout: Layout) -> str:
        """The server's name."""
        return self.node or self.site or layout.server_name

    @property
    def monitor(self) -> str:
        """The monitoring endpoint."""
        return f"http://{LOOPBACK}:{self.monitor_port}"

    def text(self) -> str:
        """The record as it is stored."""
        return self.model_dump_json(indent=2) + "\n"


def places(stored: tuple[str, ...]) -> tuple[Peer, ...]:
    """Sites, edges or hubs as a record has them."""
    return peers_named(",".join(stored), cluster_port=DEFAULT_LEAF_PORT, port=DEFAULT_PORT, option="--sites")


def find_record(layout: Layout) -> InstallRecord | None:
    """The record under this prefix, None when nothing is installed there.

    Raises:
        ConfigFileError: there is one that cannot be read or understood.
    """
    try:
        text = layout.record.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileError(f"the install record {layout.record} cannot be read: {error}") from error
    try:
        return InstallRecord.model_validate_json(text)
    except ValidationError as error:
        raise ConfigFileError(
            f"the install record {layout.record} is damaged or from another version "
            f"({error.error_count()} problems, the first: {error.errors()[0]['msg']}). "
            f"Remove it and run `mts1b-deploy install` again: streams and settings stay"
        ) from error


def record_of(layout: Layout) -> InstallRecord:
    """The record under this prefix.

    Raises:
        NotInstalled: there is none.
    """
    record = find_record(layout)
    if record is None:
        raise NotInstalled(
            f"nothing is installed under {layout.prefix}: run `mts1b-deploy install --profile minimal "
            f"--include nats`, or name the prefix with --prefix"
        )
    return record


def digest(content: bytes) -> str:
    """The fingerprint of a file's content."""
    return hashlib.sha256(content).hexdigest()


def digest_of(path: Path) -> str | None:
    """The fingerprint of a file, None when there is none."""
    try:
        return digest(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
