"""What is to be installed: as it was asked for, else as it is, else the default; and what cannot be."""

from importlib.metadata import version
from socket import gethostname

from mts1b_platform.server.binary import ServerBinary

from mts1b_deploy.errors import Conflict, UnknownName
from mts1b_deploy.leaf.asked import ensure_reached, own_place, sites_asked
from mts1b_deploy.nodes import DEFAULT_CLUSTER_PORT, QUORUM, Peer, peer_named, peers_named
from mts1b_deploy.plan.request import Request
from mts1b_deploy.profiles import (
    DEFAULT_MONITOR_PORT,
    DEFAULT_PORT,
    DEFAULT_WEBSOCKET_PORT,
    LOOPBACK,
    Profile,
    parts_named,
)
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.supervise.choose import choose_supervisor


def wanted_record(
    request: Request, profile: Profile, previous: InstallRecord | None, server: ServerBinary
) -> InstallRecord:
    """What is to be installed: as asked for, else as it is, else the default."""
    parts = parts_named(request.include or (",".join(previous.include) if previous else "nats"), profile)
    peers, here = _cluster(request, profile, previous)
    about_sites = sites_asked(profile, previous, request.sites)
    at = own_place(about_sites)
    if at and request.port and request.port != at.port:
        raise UnknownName(f"--port {request.port}: other sites dial this one at {at.port}, as --sites has it")
    here = here or at
    port = request.port or (previous.port if previous else here.port if here else DEFAULT_PORT)
    monitor_port = request.monitor_port or (previous.monitor_port if previous else DEFAULT_MONITOR_PORT)
    host = request.listen or (previous.host if previous else here.listen_host if here else LOOPBACK)
    ensure_reached(about_sites.get("edges") or (), host)
    names: tuple[str, ...] = ()
    websocket_port = request.websocket_port
    if profile.secure:
        own = here.host if here else gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared with
        names = request.names or (previous.names if previous else ()) or (own,)
        names = tuple(dict.fromkeys((*names, LOOPBACK, "localhost")))
        if websocket_port is None:
            websocket_port = (previous.websocket_port or 0) if previous else DEFAULT_WEBSOCKET_PORT
    elif foreign := _for_secure_profiles(request):
        raise UnknownName(f"{', '.join(foreign)}: not with profile {profile.name}, but with single and production")
    _check_ports(
        **{"--port": port, "--monitor-port": monitor_port, "--websocket-port": websocket_port or None},
        **({f"the port for others in --{'peers' if peers else 'sites'}": here.cluster_port} if here else {}),
    )
    encrypted = previous.encrypted if previous else False
    if previous is not None and request.encrypted not in (None, encrypted):
        raise Conflict(
            "whether the store is encrypted cannot be changed in place: `mts1b-deploy backup`, uninstall --purge, "
            "install anew, `mts1b-deploy restore`"
        )
    return InstallRecord(
        mts1b_version=version("mts1b-deploy"),
        profile=profile.name,
        include=parts,
        host=host,
        port=port,
        monitor_port=monitor_port,
        supervisor=choose_supervisor(
            request.supervisor or (previous.supervisor if previous else "auto"), for_good=profile.secure
        ),
        server_version=server.version,
        server_source=server.source,
        node=here.name if here and peers else None,
        **about_sites,
        peers=tuple(str(peer) for peer in peers),
        names=names,
        websocket_port=websocket_port or None,
        encrypted=bool(request.encrypted) or encrypted,
        checkouts=tuple(each.resolve() for each in request.checkouts) or (previous.checkouts if previous else ()),
        release=request.release or (previous.release if previous else None),
        release_before=previous.release_before if previous else None,
        files={},
    )


def _cluster(
    request: Request, profile: Profile, previous: InstallRecord | None
) -> tuple[tuple[Peer, ...], Peer | None]:
    if not profile.clustered:
        if request.node or request.peers:
            raise UnknownName(f"--node and --peers: profile {profile.name} is no cluster, production is")
        return (), None
    text = request.peers or (",".join(previous.peers) if previous else "")
    peers = peers_named(text, cluster_port=DEFAULT_CLUSTER_PORT, port=request.port or DEFAULT_PORT)
    if 0 < len(peers) < QUORUM:
        raise UnknownName(f"--peers names {len(peers)} nodes: a cluster that keeps three copies needs three or more")
    return peers, peer_named(request.node or (previous.node if previous else None), peers)


def _for_secure_profiles(request: Request) -> list[str]:
    given = {
        "--listen": request.listen,
        "--name": request.names,
        "--websocket-port": request.websocket_port,
        "--encrypt": request.encrypted,
        "--pki": request.pki,
    }
    return [option for option, value in given.items() if value]


def _check_ports(**ports: int | None) -> None:
    chosen = {option: port for option, port in ports.items() if port is not None}
    for option, value in chosen.items():
        if not 1 <= value <= 65535:
            raise UnknownName(f"{option} {value} is no TCP port: choose one from 1024 to 65535")
    for value in chosen.values():
        if len(same := [option for option, other in chosen.items() if other == value]) > 1:
            raise UnknownName(f"{' and '.join(same)} are both {value}: choose different ports")
