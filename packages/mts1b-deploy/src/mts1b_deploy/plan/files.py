"""Every file of an installation, with the content that it is to have."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from mts1b_platform.config import user_config
from mts1b_platform.server.binary import ServerBinary

from mts1b_deploy.layout import Layout
from mts1b_deploy.plan.change import FileChange, managed_file
from mts1b_deploy.plan.conf import render_conf, validate_conf
from mts1b_deploy.plan.request import Request
from mts1b_deploy.plan.room import room_notes
from mts1b_deploy.plan.settings import endpoint_of, settings_file, still_ours
from mts1b_deploy.profiles import (
    Profile,
)
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.render import render_follow_unit, render_unit
from mts1b_deploy.services.definition import NATS_USER, Services
from mts1b_deploy.services.sealing import ensure_opens
from mts1b_deploy.services.units import (
    PAGE_UNIT,
    UNITS,
    render_page,
    render_service,
    render_timer,
    sysusers,
    unit_path,
)


def planned_files(
    layout: Layout,
    request: Request,
    profile: Profile,
    record: InstallRecord,
    previous: InstallRecord | None,
    server: ServerBinary,
    program: bytes,
    services: Services | None,
) -> tuple[list[FileChange], list[str]]:
    """Every file, and what is to be said beside.

    Raises:
        Conflict: one of somebody else, or one that was edited, is in the way.
        DeployError: the server refuses its configuration, or a unit or a secret cannot be.
    """
    conf = render_conf(layout, profile, record, certificates=request.pki)
    validate_conf(layout, server.path, conf, record)
    wanted = [
        (layout.binary, program, 0o755),
        (layout.nats_conf, conf.encode(), 0o644),
        *((path, text.encode(), 0o644) for path, text in _server_units(layout, profile, record)),
        *((path, content, 0o644) for path, content in _services(layout, request, services)),
    ]
    if "observability" in record.include:
        wanted += [(path, content, 0o644) for path, content in _observability(layout)]
    files = [
        managed_file(layout, path, content, mode, previous, overwrite=request.overwrite)
        for path, content, mode in wanted
    ]
    notes: list[str] = [*room_notes(layout, record), *_why_root(layout, record)]
    here, before = endpoint_of(layout, record), endpoint_of(layout, previous) if previous else None
    for path in (layout.config, *([user_config()] if request.user_config else [])):
        change, note = settings_file(path, here, before)
        if change and previous and (known := previous.files.get(str(path))) is not None:
            change = still_ours(path, change, known)
        notes += [note] if note else []
        files += [change] if change else []
    return files, notes


def _server_units(layout: Layout, profile: Profile, record: InstallRecord) -> Iterator[tuple[Path, str]]:
    """What keeps the server running, and as whom."""
    if record.supervisor == "systemd":
        yield layout.unit, render_unit(layout, profile)
    if record.supervisor == "systemd-system":
        user = NATS_USER if NATS_USER in record.handed else None
        pair = bool(record.sites or record.edges)
        asks = bool(record.sites) and not record.mirrors
        yield layout.system_unit, render_unit(layout, profile, system=True, user=user, follow=pair, asks=asks)
        if pair:
            yield layout.follow_unit, render_follow_unit(layout)
    if record.handed:
        yield layout.sysusers, sysusers(record.handed)


def _services(layout: Layout, request: Request, services: Services | None) -> Iterator[tuple[Path, bytes]]:
    """What this host runs beside the server: the file that says it, and the units."""
    if services is None:
        return
    for service in services.services.values():
        ensure_opens(service.sealed)
    yield layout.services, (request.services or layout.services).read_bytes()
    for name, service in services.services.items():
        yield unit_path(name), render_service(layout, services, name, service).encode()
    for name, timer in services.timers.items():
        for path, text in render_timer(layout, services, name, timer).items():
            yield path, text.encode()
    if services.timers:
        yield UNITS / PAGE_UNIT, render_page(layout, services).encode()


def _why_root(layout: Layout, record: InstallRecord) -> Iterator[str]:
    """A note when the server could have a user of its own, and has none."""
    if record.supervisor == "systemd-system" and not record.handed:
        yield (
            f"nats-server runs as root: no other user gets into {layout.prefix}. With --prefix /var/lib/mts1b it has a "
            "user of its own"
        )


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
