"""What an install would write: computed from what is there, without touching anything."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from mts1b_platform.config import user_config
from mts1b_platform.server_binary import ServerBinary, find_server

from mts1b_deploy.errors import Conflict, UnknownName
from mts1b_deploy.layout import Layout
from mts1b_deploy.mts1b_toml import Endpoint, fresh, merged, read_text
from mts1b_deploy.profiles import DEFAULT_MONITOR_PORT, DEFAULT_PORT, Profile, parts_named, profile_named
from mts1b_deploy.record import InstallRecord, digest, digest_of, find_record
from mts1b_deploy.render import render_nats_conf, render_unit, validate_nats_conf
from mts1b_deploy.supervise.choose import choose_supervisor

Action = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for. None means: as it is installed, or the default."""

    profile: str
    include: str
    port: int | None = None
    monitor_port: int | None = None
    supervisor: str | None = None
    server: Path | None = None
    user_config: bool = True
    overwrite: bool = False


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

    @property
    def changed(self) -> bool:
        """Whether any file would be written, the record included."""
        return self.record != self.previous or any(file.action != "unchanged" for file in self.files)

    @property
    def needs_restart(self) -> bool:
        """Whether a running server would have to be started anew."""
        running_on = {self.layout.binary, self.layout.nats_conf, self.layout.unit}
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
    profile = profile_named(request.profile)
    parts = parts_named(request.include, profile)
    previous = find_record(layout)
    port = request.port or (previous.port if previous else DEFAULT_PORT)
    monitor_port = request.monitor_port or (previous.monitor_port if previous else DEFAULT_MONITOR_PORT)
    _check_ports(port, monitor_port)
    server = find_server(request.server)
    record = InstallRecord(
        mts1b_version=version("mts1b-deploy"),
        profile=profile.name,
        include=parts,
        host=profile.host,
        port=port,
        monitor_port=monitor_port,
        supervisor=choose_supervisor(request.supervisor or (previous.supervisor if previous else "auto")),
        server_version=server.version,
        server_source=server.source,
        files={},
    )
    files, notes = _files(layout, request, profile, record, previous, server)
    record = record.model_copy(update={"files": {str(file.path): file.fingerprint for file in files}})
    return Plan(layout, profile, record, previous, tuple(files), tuple(notes))


def _files(
    layout: Layout,
    request: Request,
    profile: Profile,
    record: InstallRecord,
    previous: InstallRecord | None,
    server: ServerBinary,
) -> tuple[list[FileChange], list[str]]:
    conf = render_nats_conf(layout, profile, port=record.port, monitor_port=record.monitor_port)
    validate_nats_conf(server.path, conf)
    managed = [(layout.binary, server.path.read_bytes(), 0o755), (layout.nats_conf, conf.encode(), 0o644)]
    if record.supervisor == "systemd":
        managed.append((layout.unit, render_unit(layout, profile).encode(), 0o644))
    files = [
        _managed(layout, path, content, mode, previous, overwrite=request.overwrite) for path, content, mode in managed
    ]
    notes: list[str] = []
    for path in (layout.config, *([user_config()] if request.user_config else [])):
        change, note = _settings(path, _endpoint(record), previous)
        notes += [note] if note else []
        files += [change] if change else []
    return files, notes


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
    if known == wanted:  # edited since, and there is nothing new to write
        return replace(change, action="unchanged")
    if overwrite or there == known:
        return replace(change, action="updated")
    happened = "was edited since it was installed" if known else "was not written by mts1b-deploy"
    raise Conflict(
        f"{path} is in the way: it {happened}, and would have to change. Move it away, "
        f"run the command with --overwrite, or choose another --prefix than {layout.prefix}"
    )


def _settings(path: Path, endpoint: Endpoint, previous: InstallRecord | None) -> tuple[FileChange | None, str | None]:
    """An ``mts1b.toml``: the user's edits stay."""
    text = read_text(path)
    if text is None:
        content = fresh(endpoint).encode()
        return FileChange(path, "created", content, 0o644, digest(content)), None
    known = previous.files.get(str(path)) if previous else None
    before = _endpoint(previous) if previous else None
    new_text, leads_here = merged(path, text, endpoint, before)
    if not leads_here:
        return None, (
            f"{path} leads to other servers and stays as it is: connect() without arguments uses those. "
            f"For this installation set MTS1B_NATS_URL={endpoint.url}"
        )
    content = new_text.encode()
    # Ours while nobody else touched it; a file just as we would write it is what an interrupted install left.
    ours = known == digest(text.encode()) or (known is None and text == fresh(endpoint))
    fingerprint = digest(content) if ours else known or ""
    action: Action = "unchanged" if new_text == text else "updated"
    return FileChange(path, action, content, 0o644, fingerprint), None


def _endpoint(record: InstallRecord) -> Endpoint:
    return Endpoint(record.profile, record.url, record.monitor)


def _check_ports(port: int, monitor_port: int) -> None:
    for value, option in ((port, "--port"), (monitor_port, "--monitor-port")):
        if not 1 <= value <= 65535:
            raise UnknownName(f"{option} {value} is no TCP port: choose one from 1024 to 65535")
    if port == monitor_port:
        raise UnknownName(f"--port and --monitor-port are both {port}: choose two different ports")
