"""``mts1b-deploy upgrade``: another server binary, or what a newer mts1b-deploy renders, under running clients.

One node at a time. A node of a cluster is put into lame duck mode: it hands its streams' leadership to the other
nodes, asks its clients to go elsewhere, and ends. A server that is alone ends at once, since its clients have nowhere
to go. The supervisor starts the new one. It counts as done when the node says that it is the new version and has
caught up. If that fails, the old binary and configuration come back. The server that was exchanged is kept, for the
way back.
"""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from mts1b_platform.server.probe import is_healthy, read_info

from mts1b_deploy.errors import StartFailed, UnknownName, UpgradeRefused
from mts1b_deploy.journal import Journal
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import connected_peers, start, stop
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.plan import Plan, Request, make_plan
from mts1b_deploy.profiles import LOOPBACK
from mts1b_deploy.record import InstallRecord, record_of
from mts1b_deploy.supervise.processes import find_server_process, is_alive

_POLL = 0.02
_LAME_DUCK = signal.SIGUSR2
_END = signal.SIGTERM


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did."""

    before: str
    after: str
    restarted: bool
    seconds: float
    """Seconds from the stop of the old server until the new one had caught up."""


def upgrade(
    layout: Layout,
    *,
    server: Path | None = None,
    back: bool = False,
    restart: bool = False,
    timeout: float = 120.0,
    on_wait: Callable[[str], None] | None = None,
) -> Upgraded:
    """Bring one node to another version.

    Args:
        layout: the installation.
        server: the nats-server to run from now on; the one from the environment when left out.
        back: run the one that the last upgrade exchanged, in place of ``server``.
        restart: restart it in the same gentle way even when nothing changes.
        timeout: seconds for the old server to leave, and again for the new one to catch up.
        on_wait: told when another mts1b-deploy must be waited for.

    Raises:
        UpgradeRefused: the node or another one is not well, or there is no server to go back to; nothing was changed.
        UnknownName: both ``server`` and ``back`` were given.
        StartFailed: the new server did not come up or did not catch up; the old one runs again.
        Conflict: a file was edited and would have to change.
    """
    record_of(layout)
    if back and server is not None:
        raise UnknownName("--back and --nats-server each name a server: give one of them")
    with prefix_lock(layout, on_wait=on_wait):
        record = record_of(layout)
        plan = make_plan(layout, _same_again(record, _before(layout) if back else server))
        if not plan.needs_restart and not restart:
            return Upgraded(record.server_version, plan.record.server_version, restarted=False, seconds=0.0)
        if find_server_process(layout) is None:
            raise UpgradeRefused(f"the server under {layout.prefix} does not run: `mts1b-deploy start`, then upgrade")
        ensure_all_well(layout, record)
        with Journal() as journal:
            journal.on_rollback(lambda: _bring_back(layout, record, timeout))
            for file in plan.files:
                if file.action == "unchanged":
                    continue
                if file.path == layout.binary:
                    journal.write(layout.binary_before, layout.binary.read_bytes(), file.mode)
                journal.write(file.path, file.content, file.mode)
            seconds = _exchange(layout, plan, timeout)
            journal.write(layout.record, plan.record.text().encode())
            journal.commit()
    return Upgraded(record.server_version, plan.record.server_version, restarted=True, seconds=seconds)


def ensure_all_well(layout: Layout, record: InstallRecord, *, patience: float = 20.0) -> None:
    """Check that this node may go: it has caught up, and no other node is away.

    Raises:
        UpgradeRefused: the cluster would lose its majority, or what is wrong already would get worse.
    """
    others = {peer.name for peer in record.nodes if peer.name != record.node}
    if missing := sorted(others - connected_peers(record)):
        raise UpgradeRefused(
            f"{record.node} has no connection to {', '.join(missing)}: bring that back first, since with one node less "
            "the cluster may be unable to store"
        )
    until = time.monotonic() + patience
    while not is_healthy(LOOPBACK, record.monitor_port) and time.monotonic() < until:
        time.sleep(_POLL)  # a replica that is a moment behind under load is no reason to refuse
    if not is_healthy(LOOPBACK, record.monitor_port):
        raise UpgradeRefused(
            f"the server under {layout.prefix} is not well or has not caught up: `mts1b-deploy doctor` tells why"
        )


def _before(layout: Layout) -> Path:
    if not layout.binary_before.exists():
        raise UpgradeRefused(
            f"no upgrade has exchanged the server under {layout.prefix}, so none is kept to go back to: name one with "
            "--nats-server FILE"
        )
    return layout.binary_before


def _same_again(record: InstallRecord, server: Path | None) -> Request:
    from mts1b_platform.config import user_config

    return Request(profile=record.profile, server=server, user_config=str(user_config()) in record.files)


def _exchange(layout: Layout, plan: Plan, timeout: float) -> float:
    began = time.monotonic()
    old = find_server_process(layout)
    if old is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            old.send_signal(_LAME_DUCK if plan.record.clustered else _END)
        _wait(lambda: not is_alive(old), timeout, f"the old server (pid {old.pid}) did not leave")
    start(layout, plan.record, timeout=timeout)
    _wait(
        lambda: is_healthy(LOOPBACK, plan.record.monitor_port),
        timeout,
        "the new server did not catch up",
    )
    info = read_info(plan.record.probe_host, plan.record.port)
    if info is None or info.version != plan.record.server_version:
        raise StartFailed(
            f"the server says that it is version {info and info.version}, not {plan.record.server_version}"
        )
    return time.monotonic() - began


def _bring_back(layout: Layout, record: InstallRecord, timeout: float) -> None:
    stop(layout, record, timeout=15.0)
    start(layout, record, timeout=timeout)


def _wait(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            raise StartFailed(f"{otherwise} within {timeout:g} s (--timeout gives it longer)")
        time.sleep(_POLL)
