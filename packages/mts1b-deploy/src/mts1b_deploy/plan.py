"""What an install would write: computed from what is there, without touching anything."""

import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import Literal

from mts1b_platform.config import user_config
from mts1b_platform.server.binary import ServerBinary, find_server

from mts1b_deploy.errors import Conflict, UnknownName
from mts1b_deploy.layout import Layout
from mts1b_deploy.mts1b_toml import Endpoint, fresh, merged, read_text
from mts1b_deploy.nodes import DEFAULT_CLUSTER_PORT, QUORUM, Peer, peer_named, peers_named
from mts1b_deploy.profiles import (
    DEFAULT_MONITOR_PORT,
    DEFAULT_PORT,
    DEFAULT_PROFILE,
    DEFAULT_WEBSOCKET_PORT,
    LOOPBACK,
    Profile,
    parts_named,
    profile_named,
)
from mts1b_deploy.record import InstallRecord, digest, digest_of, find_record
from mts1b_deploy.render import render_minimal, render_unit, validate_nats_conf
from mts1b_deploy.supervise.choose import choose_supervisor

Action = Literal["created", "updated", "unchanged"]


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
    checkouts: tuple[Path, ...] = ()
    """Checkouts that count as declared."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file, with the content it is to have."""

    path: Path
    action: Action
    content: bytes
    mode: int
    fingerprint: str
    """For the record; empty when the file was there before and stays the user's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an install would do, before it does it."""

    layout: Layout
    profile: Profile
    record: InstallRecord
    previous: InstallRecord | None
    files: tuple[FileChange, ...]
    notes: tuple[str, ...]
    pki: Path | None = None
    """Where certificates are taken from that another node made."""

    @property
    def changed(self) -> bool:
        """Whether any file would be written, the record included."""
        return self.record != self.previous or any(file.action != "unchanged" for file in self.files)

    @property
    def needs_restart(self) -> bool:
        """Whether a running server would have to be started anew."""
        running_on = {self.layout.binary, self.layout.nats_conf, self.layout.unit, self.layout.system_unit}
        other_keeper = self.previous is not None and self.previous.supervisor != self.record.supervisor
        return other_keeper or any(file.action != "unchanged" and file.path in running_on for file in self.files)


def make_plan(layout: Layout, request: Request) -> Plan:
    """Compare what is wanted with what is there.

    Raises:
        UnknownName: profile, part, supervisor or port cannot be.
        Conflict: a file of somebody else, or one that was edited, is in the way.
        ConfigFileError: an existing file cannot be understood.
        ServerError: no usable nats-server.
    """
    previous = find_record(layout)
    profile = profile_named(request.profile or (previous.profile if previous else DEFAULT_PROFILE))
    if previous is not None and previous.profile != profile.name:
        raise Conflict(
            f"{layout.prefix} has profile {previous.profile}, whose streams belong to another account than those of "
            f"{profile.name}: `mts1b-deploy backup`, uninstall --purge, install {profile.name} and "
            f"`mts1b-deploy restore`, or choose another --prefix"
        )
    server = find_server(request.server)
    record = _record(request, profile, previous, server)
    files, notes = _files(layout, request, profile, record, previous, server)
    record = record.model_copy(update={"files": {str(file.path): file.fingerprint for file in files}})
    return Plan(layout, profile, record, previous, tuple(files), tuple(notes), request.pki)


def _record(request: Request, profile: Profile, previous: InstallRecord | None, server: ServerBinary) -> InstallRecord:
    """What is to be installed: as asked for, else as it is, else the default."""
    parts = parts_named(request.include or (",".join(previous.include) if previous else "nats"), profile)
    peers, here = _cluster(request, profile, previous)
    port = request.port or (previous.port if previous else here.port if here else DEFAULT_PORT)
    monitor_port = request.monitor_port or (previous.monitor_port if previous else DEFAULT_MONITOR_PORT)
    host = request.listen or (previous.host if previous else here.listen_host if here else LOOPBACK)
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
        **({"the cluster port in --peers": here.cluster_port} if here else {}),
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
        node=here.name if here else None,
        peers=tuple(str(peer) for peer in peers),
        names=names,
        websocket_port=websocket_port or None,
        encrypted=bool(request.encrypted) or encrypted,
        checkouts=tuple(each.resolve() for each in request.checkouts) or (previous.checkouts if previous else ()),
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


def _files(
    layout: Layout,
    request: Request,
    profile: Profile,
    record: InstallRecord,
    previous: InstallRecord | None,
    server: ServerBinary,
) -> tuple[list[FileChange], list[str]]:
    conf = render_conf(layout, profile, record, certificates=request.pki)
    validate_conf(layout, server.path, conf, record)
    managed = [(layout.binary, server.path.read_bytes(), 0o755), (layout.nats_conf, conf.encode(), 0o644)]
    if record.supervisor == "systemd":
        managed.append((layout.unit, render_unit(layout, profile).encode(), 0o644))
    if record.supervisor == "systemd-system":
        managed.append((layout.system_unit, render_unit(layout, profile, system=True).encode(), 0o644))
    if "observability" in record.include:
        managed += [(path, content, 0o644) for path, content in _observability(layout)]
    files = [
        _managed(layout, path, content, mode, previous, overwrite=request.overwrite) for path, content, mode in managed
    ]
    notes: list[str] = []
    for path in (layout.config, *([user_config()] if request.user_config else [])):
        change, note = _settings(path, _endpoint(layout, record), _endpoint(layout, previous) if previous else None)
        if change and previous and (known := previous.files.get(str(path))) is not None:
            change = _still_ours(path, change, known)
        notes += [note] if note else []
        files += [change] if change else []
    return files, notes


def render_conf(layout: Layout, profile: Profile, record: InstallRecord, *, certificates: Path | None = None) -> str:
    """The server's configuration for what is, or is to be, installed; ``certificates``: where they are taken from."""
    if not profile.secure:
        return render_minimal(layout, profile, record)
    # Imported here: the permissions come from every package that contributes subjects, which takes its time.
    from mts1b_deploy.secured import render_secured

    return render_secured(layout, profile, record, certificates=certificates)


def validate_conf(layout: Layout, binary: Path, conf: str, record: InstallRecord) -> None:
    """Let the server check it, with stand-ins for certificates that are not made yet.

    Raises:
        DeployError: the server refuses it.
    """

    def beside(directory: Path) -> dict[Path, Path]:
        from mts1b_deploy.secured import stand_in

        stand_in(layout, record, directory / "pki")
        (directory / layout.encryption_key.name).write_text('key: "only to be looked at"\n')
        return {layout.pki: directory / "pki"}

    validate_nats_conf(binary, conf, beside=beside if record.secure else None)


def _observability(layout: Layout) -> list[tuple[Path, bytes]]:
    """What Prometheus and Grafana read: rendered aside, as for every other file it is compared before it is written."""
    from mts1b_deploy.observability import render

    with tempfile.TemporaryDirectory(prefix="mts1b-deploy-") as directory:
        aside = Path(directory)
        written = render(aside, targets=layout.metrics)
        return [
            (
                layout.observability / path.relative_to(aside),
                path.read_bytes().replace(str(aside).encode(), str(layout.observability).encode()),
            )
            for path in written
        ]


def _managed(
    layout: Layout, path: Path, content: bytes, mode: int, previous: InstallRecord | None, *, overwrite: bool
) -> FileChange:
    """A file that is ours alone: never written over one that somebody else wrote or edited."""
    there, wanted = digest_of(path), digest(content)
    known = previous.files.get(str(path)) if previous else None
    change = FileChange(path, "created", content, mode, wanted)
    if there is None:
        return change
    if there == wanted:
        return replace(change, action="unchanged")
    if known == wanted and not overwrite:  # edited since, and there is nothing new to write
        return replace(change, action="unchanged")
    if overwrite or there == known:
        return replace(change, action="updated")
    happened = "was edited since it was installed" if known else "was not written by mts1b-deploy"
    raise Conflict(
        f"{path} is in the way: it {happened}, and would have to change. Move it away, "
        f"run the command with --overwrite, or choose another --prefix than {layout.prefix}"
    )


def _settings(path: Path, endpoint: Endpoint, before: Endpoint | None) -> tuple[FileChange | None, str | None]:
    """An ``mts1b.toml``: the user's edits stay. The fingerprint is empty when the file may be the user's own."""
    text = read_text(path)
    if text is None:
        content = fresh(endpoint).encode()
        return FileChange(path, "created", content, 0o644, digest(content)), None
    new_text, leads_here = merged(path, text, endpoint, before)
    if not leads_here:
        return None, (
            f"{path} leads to other servers and stays as it is: connect() without arguments uses those. "
            f"For this installation set MTS1B_NATS_URL={endpoint.url}"
            + (f" and MTS1B_TLS_DIR={endpoint.tls_dir}" if endpoint.tls_dir else "")
        )
    content = new_text.encode()
    # A file just as we would write it is what an interrupted install left.
    fingerprint = digest(content) if text == fresh(endpoint) else ""
    action: Action = "unchanged" if new_text == text else "updated"
    return FileChange(path, action, content, 0o644, fingerprint), None


def _still_ours(path: Path, change: FileChange, known: str) -> FileChange:
    """Ours while nobody else touched it; otherwise what we wrote once, so that the edit is noticed."""
    return replace(change, fingerprint=digest(change.content) if known == digest_of(path) else known)


def _endpoint(layout: Layout, record: InstallRecord) -> Endpoint:
    tls_dir = str(layout.pki) if record.secure else None
    return Endpoint(
        record.profile,
        record.url,
        record.monitor,
        others=record.urls[1:],
        tls_dir=tls_dir,
        people=record.people_urls,
        checkouts=tuple(map(str, record.checkouts)),
    )


def _check_ports(**ports: int | None) -> None:
    chosen = {option: port for option, port in ports.items() if port is not None}
    for option, value in chosen.items():
        if not 1 <= value <= 65535:
            raise UnknownName(f"{option} {value} is no TCP port: choose one from 1024 to 65535")
    for value in chosen.values():
        if len(same := [option for option, other in chosen.items() if other == value]) > 1:
            raise UnknownName(f"{' and '.join(same)} are both {value}: choose different ports")
