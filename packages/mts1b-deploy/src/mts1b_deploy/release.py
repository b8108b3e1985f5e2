"""``mts1b-deploy release``: services of another release under traffic, and the way back."""

import asyncio
import sys
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.logs import get_logger

from mts1b_deploy.backup.positions import read_positions
from mts1b_deploy.backup.streams import administration, stream_names
from mts1b_deploy.errors import ReleaseFailed, ReleaseRefused
from mts1b_deploy.install import install
from mts1b_deploy.journal import Journal
from mts1b_deploy.layout import Layout
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.plan import Request, make_plan
from mts1b_deploy.record import InstallRecord, digest, record_of
from mts1b_deploy.services.definition import Services
from mts1b_deploy.services.release import Manager, Stands, Systemd, Terms, exchange, not_ready
from mts1b_deploy.services.traffic import Marks, Traffic, marks_now, traffic_since

log = get_logger("mts1b.deploy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a change of release goes: ``services/release.py``."""

    settle: float = 5.0
    timeout: float = 120.0
    manager: Manager = field(default_factory=Systemd)
    on_step: Callable[[str], object] = lambda _: None
    on_wait: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of release did."""

    before: Path
    after: Path
    services: dict[str, float]
    """By service that was started anew, the seconds until it had stayed ready."""
    traffic: Traffic | None = None
    """What the streams took meanwhile; None when nothing was changed, or they could not be read afterwards."""


def apply(layout: Layout, options: Options, *, environment: Path | None = None) -> Changed:
    """Bring every service to the environment that this runs in; first the bus to what its packages declare.

    Raises:
        ReleaseRefused: there are no services, or one does not run; nothing was changed.
        ReleaseFailed: one is not ready; every service runs the release before again.
        DeployError: the bus could not be brought to it; no service was touched.
    """
    to = environment or Path(sys.prefix)
    record = _with_services(layout)
    Services.read(layout.services, venv=to)  # every program is there
    # Permissions, streams and durables of the new release; what the old one needs stays in all of them.
    install(layout, _same(record, layout, start_services=False), timeout=options.timeout, on_wait=options.on_wait)
    return _change(layout, to, options, killed=record.release_under_way)


def rollback(layout: Layout, options: Options) -> Changed:
    """Bring every service back to the release before. The bus keeps what it has: an older release gets along with it.

    Raises:
        ReleaseRefused: there was none, or a service does not run; nothing was changed.
        ReleaseFailed: one is not ready; every service runs the newer release again.
    """
    record = _with_services(layout)
    if record.release_before is None:
        raise ReleaseRefused(f"there is no release before {_current(layout, record)}: `mts1b-deploy release ls`")
    return _change(layout, record.release_before, options)


def _change(layout: Layout, to: Path, options: Options, *, killed: bool = False) -> Changed:
    with prefix_lock(layout, on_wait=options.on_wait):
        record = _with_services(layout)
        before, after = Services.read(layout.services, venv=record.release), Services.read(layout.services, venv=to)
        if before.venv == after.venv and not killed:
            return Changed(before.venv, after.venv, {})
        files = dict(record.files)
        journal = Journal()

        def remember(path: Path, text: str) -> None:
            """So that an install after a kill takes it for what this wrote, and brings the release before back."""
            files[str(path)] = digest(text.encode())
            journal.write(
                layout.record, record.model_copy(update={"files": files, "release_under_way": True}).text().encode()
            )

        terms = Terms(
            stands=lambda services: _stands(layout, record, services),
            remember=remember,
            settle=options.settle,
            timeout=options.timeout,
            manager=options.manager,
            on_step=options.on_step,
        )
        marks = asyncio.run(_marks(layout, record))
        with _told(before, options.manager), journal:
            took = exchange(layout, before, after, journal, terms)
            plan = make_plan(layout, _same(record, layout, release=after.venv))
            previous = before.venv if before.venv != after.venv else record.release_before
            changed = plan.record.model_copy(update={"release_before": previous})
            journal.write(layout.record, changed.text().encode())
            journal.commit()
    try:
        traffic = asyncio.run(_traffic(layout, record, marks))
    except Mts1bError as error:
        log.warning("what the streams took during the change of release could not be counted", error=str(error))
        traffic = None
    return Changed(before.venv, after.venv, took, traffic)


@contextmanager
def _told(before: Services, manager: Manager) -> Generator[None]:
    """Say in an error what runs now."""
    try:
        yield
    except ReleaseFailed as error:
        away = not_ready(before, manager)
        now = f"NOT ready with that one either: {', '.join(away)}" if away else "every service runs that one again"
        raise ReleaseFailed(f"{error}. The release before was brought back: {now}") from error


def _with_services(layout: Layout) -> InstallRecord:
    record = record_of(layout)
    if not record.services:
        raise ReleaseRefused("no services run as units here: `mts1b-deploy install --services FILE`")
    return record


def _current(layout: Layout, record: InstallRecord) -> Path:
    return record.release or Services.read(layout.services).venv


def _same(
    record: InstallRecord, layout: Layout, *, release: Path | None = None, start_services: bool = True
) -> Request:
    from mts1b_platform.config import user_config

    return Request(
        server=layout.binary,  # another nats-server is `upgrade`'s to bring
        user_config=str(user_config()) in record.files,
        release=release,
        start_services=start_services,
    )


async def _marks(layout: Layout, record: InstallRecord) -> Marks:
    async with administration(layout, record) as bus:
        return await marks_now(bus)


async def _traffic(layout: Layout, record: InstallRecord, marks: Marks) -> Traffic:
    async with administration(layout, record) as bus:
        return await traffic_since(bus, marks)


def _stands(layout: Layout, record: InstallRecord, services: Collection[str]) -> Stands:
    async def read() -> Stands:
        async with administration(layout, record) as bus:
            positions = await read_positions(bus, await stream_names(bus))
            return {(each.stream, each.durable): each.floor for each in positions if each.service in services}

    return asyncio.run(read())
