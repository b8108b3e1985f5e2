"""What the user asked for."""

from dataclasses import dataclass, field
from pathlib import Path

from mts1b_deploy.leaf.asked import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for. None means: as it is installed, or the default."""

    profile: str | None = None
    include: str | None = None
    port: int | None = None
    monitor_port: int | None = None
    supervisor: str | None = None
    server: Path | None = None
    user_config: bool = True
    overwrite: bool = False
    listen: str | None = None
    names: tuple[str, ...] = ()
    """Host names and addresses for the server's certificate, the first one for clients to dial."""
    node: str | None = None
    peers: str | None = None
    websocket_port: int | None = None
    """0: no listener for people."""
    encrypted: bool | None = None
    pki: Path | None = None
    """A directory with certificates that another node made."""
    sites: Asked = field(default_factory=Asked)
    """Other sites."""
    checkouts: tuple[Path, ...] = ()
    """Checkouts that count as declared."""
    services: Path | None = None
    """What this host runs beside the server."""
    release: Path | None = None
    """The environment that services run."""
    start_services: bool = True
