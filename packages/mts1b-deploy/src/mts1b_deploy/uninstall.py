"""``mts1b-deploy uninstall``: stop, take back what install wrote, keep the data unless told otherwise."""

from dataclasses import dataclass
from pathlib import Path

from mts1b_deploy.errors import NotInstalled
from mts1b_deploy.journal import explained, remove_if_empty, remove_tree
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import Stopped, stop
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.record import InstallRecord, digest_of, find_record
from mts1b_deploy.services.definition import user_of
from mts1b_deploy.services.units import stop_units, units_of
from mts1b_deploy.supervise.choose import supervision


@dataclass(frozen=True, slots=True)
class Uninstalled:
    """What an uninstall did."""

    server: Stopped
    removed: tuple[Path, ...]
    kept: tuple[tuple[Path, str], ...]
    """What is still there, and why."""


def uninstall(layout: Layout, *, purge: bool, timeout: float = 15.0) -> Uninstalled:
    """Undo an install. Files that somebody edited stay; the streams' data stays unless ``purge``.

    Raises:
        NotInstalled: there is nothing to undo.
        PrefixError: something may not be removed.
    """
    if find_record(layout) is None and not (purge and layout.data_marker.exists()):
        rest = f" (its data is kept in {layout.data}: --purge deletes it)" if layout.data_marker.exists() else ""
        raise NotInstalled(f"nothing is installed under {layout.prefix}{rest}")
    with prefix_lock(layout):
        record = find_record(layout)
        removed: list[Path] = []
        kept: list[tuple[Path, str]] = []
        server: Stopped = "not running"
        if record is not None:
            if units := units_of(record.services, record.timers):
                stop_units(units)
            server = stop(layout, record, timeout=timeout)
            supervision(record.supervisor).remove(layout)
            _remove_files(record, removed, kept)
            remove_tree(layout.handed_out)
            kept += [
                (state, "the state of a service")
                for name in record.services
                if (state := Path("/var/lib") / user_of(name)).exists()
            ]
        _remove_traces(layout)
        if layout.data_marker.exists():
            if purge:
                with explained(layout.data):
                    remove_tree(layout.data)
                removed.append(layout.data)
            else:
                kept.append((layout.data, "the streams' data: `mts1b-deploy uninstall --purge` deletes it"))
        _remove_secrets(layout, removed, kept, purge=purge)
        # Last, so that an uninstall that was interrupted can be repeated.
        layout.record.unlink(missing_ok=True)
        for directory in (layout.binary.parent, layout.record.parent, layout.logs):
            remove_if_empty(directory)
        if record is not None:
            supervision(record.supervisor).reload_units()
        return Uninstalled(server, tuple(removed), tuple(kept))


def _remove_files(record: InstallRecord, removed: list[Path], kept: list[tuple[Path, str]]) -> None:
    for name, written in record.files.items():
        path = Path(name)
        there = digest_of(path)
        if there is None:
            continue
        if there == written:
            with explained(path):
                path.unlink()
            removed.append(path)
            remove_if_empty(path.parent)
        elif written:
            kept.append((path, "edited since it was installed"))
        else:
            kept.append((path, "it was there before"))


def _remove_secrets(layout: Layout, removed: list[Path], kept: list[tuple[Path, str]], *, purge: bool) -> None:
    """What is as precious as the data."""
    places = (
        (layout.pki, "certificates and keys"),
        (layout.callout.parent, "the keys that let people in"),
        (layout.encryption_key, "the key of the streams' data"),
    )
    for path, what in places:
        if not path.exists():
            continue
        if not purge:
            kept.append((path, f"{what}: `mts1b-deploy uninstall --purge` deletes them"))
            continue
        with explained(path):
            remove_tree(path) if path.is_dir() else path.unlink()
        removed.append(path)


def _remove_traces(layout: Layout) -> None:
    """Logs, files that meant something while processes ran, and the server that an upgrade kept."""
    for pattern in ("nats.log*", "nats-output.log*", "supervisor.log*"):
        for path in layout.logs.glob(pattern):
            path.unlink(missing_ok=True)
    for path in (layout.supervisor_lock, layout.supervisor_state, layout.nats_pid, layout.binary_before):
        path.unlink(missing_ok=True)
