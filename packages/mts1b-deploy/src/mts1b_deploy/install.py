"""``mts1b-deploy install``: from nothing to a supervised server with its streams, or back to nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from mts1b_deploy.errors import PrefixError
from mts1b_deploy.journal import Journal, remove_if_empty, remove_tree
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import Started, ensure_ports_free, start, stop
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.plan import FileChange, Plan, Request, make_plan
from mts1b_deploy.streams import AppliedStream, apply_streams
from mts1b_deploy.supervise.processes import find_server_process, ports_of
from mts1b_deploy.supervise.systemd import SystemdSupervision

_MARKER = "JetStream data of an mts1b-deploy installation: `uninstall` keeps it, `uninstall --purge` deletes it.\n"


@dataclass(frozen=True, slots=True)
class Installed:
    """What an install did."""

    plan: Plan
    server: Started
    streams: tuple[AppliedStream, ...]

    @property
    def changed(self) -> bool:
        """False when everything was as it should be before."""
        return (
            self.plan.changed
            or self.server != "already running"
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
    layout, previous = plan.layout, plan.previous
    if plan.needs_restart and find_server_process(layout) is not None:
        running = previous or plan.record
        journal.on_rollback(lambda: start(layout, running, timeout=timeout))
        stop(layout, running, timeout=timeout)
        if running.supervisor == "systemd" and plan.record.supervisor != "systemd":
            SystemdSupervision().remove(layout)
    _make_directories(layout, journal)
    for file in plan.files:
        if file.action != "unchanged":
            _write(file, journal)
    was_running = find_server_process(layout) is not None
    if not was_running:
        journal.on_rollback(lambda: stop(layout, plan.record, timeout=10.0))
    server = start(layout, plan.record, timeout=timeout)
    streams = apply_streams(layout, plan.record.url, plan.profile.name)
    if plan.record != previous:
        journal.write(layout.record, plan.record.text().encode())
    return Installed(plan, server, tuple(streams))


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
