"""Comparing what is wanted with what is there, without touching anything."""

from dataclasses import dataclass, replace
from pathlib import Path

from mts1b_platform.server.binary import find_server

from mts1b_deploy.errors import Conflict
from mts1b_deploy.layout import Layout
from mts1b_deploy.plan.change import FileChange
from mts1b_deploy.plan.files import planned_files
from mts1b_deploy.plan.request import Request
from mts1b_deploy.plan.wanted import wanted_record
from mts1b_deploy.profiles import (
    DEFAULT_PROFILE,
    Profile,
    profile_named,
)
from mts1b_deploy.record import InstallRecord, digest, find_record
from mts1b_deploy.server_program import doubt, ensure_unchanged
from mts1b_deploy.services.users import with_users


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
    start_services: bool = True

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
    if previous is not None and request.server == layout.binary:
        server = replace(server, source=previous.server_source)  # the installed one: it is from where it was
    program = server.path.read_bytes()
    if previous is not None and not request.overwrite:
        ensure_unchanged(layout, previous, None if request.server == layout.binary else digest(program))
    doubts = doubt(server, digest(program))
    record = wanted_record(request, profile, previous, server)
    record, services = with_users(layout, record, request.services)
    files, notes = planned_files(layout, request, profile, record, previous, server, program, services)
    notes += [doubts] if doubts else []
    record = record.model_copy(update={"files": {str(file.path): file.fingerprint for file in files}})
    return Plan(layout, profile, record, previous, tuple(files), tuple(notes), request.pki, request.start_services)
