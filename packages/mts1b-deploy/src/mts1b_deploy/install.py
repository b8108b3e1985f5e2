"""``mts1b-deploy install``: from nothing to a supervised server with its streams, or back to nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mts1b_deploy.errors import PrefixError
from mts1b_deploy.journal import Journal, remove_if_empty, remove_tree
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import Started, ensure_ports_free, reload, start, stop, wait_for_peers
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.plan import FileChange, Plan, Request, make_plan
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.services.definition import NATS_USER
from mts1b_deploy.streams import AppliedStream, apply_streams
from mts1b_deploy.supervise.choose import supervision
from mts1b_deploy.supervise.processes import find_server_process, ports_of

_MARKER = "JetStream data of an mts1b-deploy installation: `uninstall` keeps it, `uninstall --purge` deletes it.\n"


@dataclass(frozen=True, slots=True)
class Installed:
    """What an install did."""

    plan: Plan
    server: Started
    streams: tuple[AppliedStream, ...]
    certificates: tuple[str, ...] = ()
    """Whose certificates were made."""
    services: tuple[str, ...] = ()
    """What was done with each service."""
    waiting_for: tuple[str, ...] = ()
    """Nodes that must be installed before the streams can be made."""

    @property
    def changed(self) -> bool:
        """False when everything was as it should be before."""
        return (
            self.plan.changed
            or self.server != "already running"
            or bool(self.certificates)
            or any(stream.action != "unchanged" for stream in self.streams)
        )


def install(
    layout: Layout, request: Request, *, timeout: float = 30.0, on_wait: Callable[[str], None] | None = None
) -> Installed:
    """Write, start, wait, apply the streams. Whatever fails, this run's changes are taken back.

    Raises:
        DeployError: in one of its kinds; nothing is left half-done.
    """
    make_plan(layout, request)  # what cannot work is refused before a single directory is made
    with prefix_lock(layout, on_wait=on_wait):
        plan = make_plan(layout, request)
        _check_ports(plan)
        with Journal() as journal:
            outcome = _carry_out(plan, journal, timeout)
            journal.commit()
        return outcome


def _check_ports(plan: Plan) -> None:
    """The ports must be free, but for those that our own running server has."""
    ensure_ports_free(plan.record, but=ports_of(find_server_process(plan.layout)))


def _carry_out(plan: Plan, journal: Journal, timeout: float) -> Installed:
    layout, before = plan.layout, plan.previous or plan.record
    if find_server_process(layout) is not None:
        journal.on_rollback(lambda: _put_back(layout, before, timeout))
    _make_directories(layout, journal)
    certificates = _secure(plan, journal) if plan.record.secure else []
    if plan.needs_restart and not _reload_is_enough(plan):
        stop(layout, before, timeout=timeout)
        if before.supervisor != plan.record.supervisor:
            supervision(before.supervisor).remove(layout)
    for file in plan.files:
        if file.action != "unchanged":
            _write(file, journal)
    handed = _hand_out(plan)
    stale = bool(certificates or handed) or plan.needs_restart
    if stale and find_server_process(layout) is not None and not reload(layout, before):
        stop(layout, before, timeout=timeout)
    if find_server_process(layout) is None:
        journal.on_rollback(lambda: stop(layout, plan.record, timeout=10.0))
    server = start(layout, plan.record, timeout=timeout)
    missing = wait_for_peers(plan.record, timeout)
    streams = [] if missing else _apply_streams(plan)
    services = _start_services(plan, handed)
    if plan.record != plan.previous:
        journal.write(layout.record, plan.record.text().encode())
    return Installed(plan, server, tuple(streams), tuple(certificates), tuple(services), missing)


def _apply_streams(plan: Plan) -> list[AppliedStream]:
    layout, record = plan.layout, plan.record
    if record.mirrors:
        from mts1b_deploy.mirrors.mirror import apply_mirrors

        return asyncio.run(apply_mirrors(layout, record))
    done = apply_streams(layout, record)
    if record.edges:
        from mts1b_deploy.mirrors.sources import apply_sources

        done += asyncio.run(apply_sources(layout, record))
    if record.hubs:
        from mts1b_deploy.mirrors.mirror import wait_for_leaf

        wait_for_leaf(layout, record)
    return done


def _hand_out(plan: Plan) -> list[str]:
    """Make the users of this host, and give them what is theirs; who got another certificate."""
    layout, record = plan.layout, plan.record
    if not record.handed:
        return []
    from mts1b_deploy.services.hand_out import give, hand_out
    from mts1b_deploy.services.units import make_users

    make_users(layout.sysusers)
    for path in (layout.data, layout.logs, layout.run, layout.encryption_key):
        if path.exists():
            give(path, NATS_USER)
    return hand_out(layout, record)


def _start_services(plan: Plan, handed: list[str]) -> list[str]:
    """Start what this host runs beside the server; what is no longer asked for is stopped and taken away."""
    from mts1b_deploy.services.definition import Services, user_of
    from mts1b_deploy.services.hand_out import give
    from mts1b_deploy.services.units import UNITS, start_timers, start_units, stop_units, unit_path, units_of

    before, now = plan.previous, plan.record
    if before is not None:
        spare = {Path(path) for path in before.files if Path(path).parent == UNITS} - {Path(path) for path in now.files}
        stop_units(set(units_of(before.services, before.timers)) - set(units_of(now.services, now.timers)))
        for path in spare:
            path.unlink(missing_ok=True)
    if not plan.start_services or (not now.services and not now.timers):
        return []
    written = {file.path for file in plan.files if file.action != "unchanged"}
    for name, service in Services.read(plan.layout.services, venv=now.release).services.items():
        for path in service.owns:
            if path.exists():
                give(path, user_of(name))
    changed = {name: unit_path(name) in written or user_of(name) in handed for name in now.services}
    return [*start_units(changed), *start_timers(now.timers)]


def _put_back(layout: Layout, record: InstallRecord, timeout: float) -> None:
    """Run the server again on the files as they were before."""
    if find_server_process(layout) is None or not reload(layout, record):
        stop(layout, record, timeout=timeout)
        start(layout, record, timeout=timeout)


def _reload_is_enough(plan: Plan) -> bool:
    """Whether only what the server reads again while it runs may have changed: permissions, certificates, limits."""
    differing = {file.path for file in plan.files if file.action != "unchanged"}
    same_keeper = plan.previous is not None and plan.previous.supervisor == plan.record.supervisor
    return same_keeper and not differing & {plan.layout.binary, plan.layout.unit, plan.layout.system_unit}


def _secure(plan: Plan, journal: Journal) -> list[str]:
    from mts1b_deploy.secured import make_certificates, make_encryption_key, take_certificates

    taken = take_certificates(plan.layout, plan.pki, journal) if plan.pki is not None else []
    make_encryption_key(plan.layout, plan.record, journal)
    return [*taken, *make_certificates(plan.layout, plan.record, journal)]


def _make_directories(layout: Layout, journal: Journal) -> None:
    for directory, mode in ((layout.data, 0o700), (layout.logs, 0o755), (layout.run, 0o755)):
        is_new = not directory.exists()
        journal.make_directory(directory, mode)
        if is_new:  # what the server itself puts there goes as well
            journal.on_rollback(lambda path=directory: remove_tree(path))
    if not layout.data_marker.exists():
        if any(layout.data.iterdir()):
            raise PrefixError(
                f"{layout.data} has files in it that mts1b-deploy did not make: move them, or choose another --prefix"
            )
        journal.write(layout.data_marker, _MARKER.encode())
    journal.on_rollback(lambda: _forget_run_files(layout))


def _forget_run_files(layout: Layout) -> None:
    if not layout.record.exists():
        for path in (layout.supervisor_lock, layout.supervisor_state, layout.nats_pid):
            path.unlink(missing_ok=True)
        remove_if_empty(layout.run)


def _write(file: FileChange, journal: Journal) -> None:
    journal.write(file.path, file.content, file.mode)
