"""A whole cluster on one machine: three nodes of profile production, each installed as on a host of its own.

::

    <prefix>/n1, n2, n3     one installation each, its own ports, store, certificates and supervisor
    <prefix>/pki            the authority and every certificate; each node has copies
    <prefix>/cluster.json   their names and ports

For rehearsals and tests: what happens when a node is killed, frozen, stopped or upgraded. Three nodes on one machine
survive no power cut of that machine that one node would not.
"""

import contextlib
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from mts1b_platform.server.probe import address_in_use, is_healthy, read_monitor
from mts1b_platform.whole_file import write_whole
from pydantic import BaseModel, ConfigDict, ValidationError

from mts1b_deploy.errors import ConfigFileError, NotInstalled, StartFailed, UnknownName
from mts1b_deploy.install import Installed, install
from mts1b_deploy.journal import remove_if_empty, remove_tree
from mts1b_deploy.layout import Layout, default_prefix, layout_of
from mts1b_deploy.lifecycle import start, stop, wait_for_peers
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.nodes import DEFAULT_CLUSTER_PORT, QUORUM, Peer, peers_named
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.plan import Request
from mts1b_deploy.profiles import DEFAULT_PORT, LOOPBACK
from mts1b_deploy.record import find_record, record_of
from mts1b_deploy.secured import issue_all
from mts1b_deploy.supervise.processes import find_server_process, find_supervisor_process
from mts1b_deploy.uninstall import uninstall
from mts1b_deploy.upgrade import Upgraded, upgrade

_PORTS = range(16_000, 20_000)


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid")

    peers: tuple[str, ...]
    monitor_ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node as it is now."""

    node: str
    url: str
    pid: int | None
    state: str
    """``running``, ``frozen`` or ``down``."""
    healthy: bool
    leads: bool
    """Whether it leads the cluster's own decisions; each stream has a leader of its own besides."""


class Cluster:
    """The nodes below one prefix.

    Args:
        prefix: where they are; None: beside the default prefix of an installation.
        ports: gives so many ports for a new cluster; None: any that are free now.
    """

    def __init__(self, prefix: Path | None = None, *, ports: Callable[[int], Sequence[int]] | None = None) -> None:
        self._ports = ports or _free_ports
        self.prefix = layout_of(prefix or default_prefix().with_name("mts1b-cluster")).prefix

    @property
    def _file(self) -> Path:
        return self.prefix / "cluster.json"

    def layout(self, node: str) -> Layout:
        """Where a node lives.

        Raises:
            NotInstalled: there is no cluster here.
            UnknownName: it has no such node.
        """
        if node not in (names := self.names()):
            raise UnknownName(f"no node {node!r} in the cluster under {self.prefix}: it has {', '.join(names)}")
        return Layout(self.prefix / node)

    def names(self) -> list[str]:
        """The nodes, in order.

        Raises:
            NotInstalled: there is no cluster here.
        """
        return [peer.partition("=")[0] for peer in self._description().peers]

    def urls(self) -> list[str]:
        """What clients connect to."""
        return [record_of(self.layout(node)).url for node in self.names()]

    def up(
        self,
        size: int = QUORUM,
        *,
        server: Path | None = None,
        checkouts: tuple[Path, ...] = (),
        timeout: float = 60.0,
    ) -> list[Installed]:
        """Install and start what is not there yet; a second time nothing changes.

        What ``checkouts`` declare counts as that of installed packages; a cluster that is there keeps its own.

        Every node takes its certificates from the cluster's authority, the last one makes the streams.

        Raises:
            UnknownName: fewer than three nodes were asked for.
            DeployError: an install failed; the nodes before it stay.
        """
        description = self._describe(size)
        nodes = peers_named(",".join(description.peers), cluster_port=DEFAULT_CLUSTER_PORT, port=DEFAULT_PORT)
        pki = Pki(self.prefix / "pki")
        pki.init()
        checkouts = checkouts or self._checkouts(nodes)
        issue_all(pki, nodes, [LOOPBACK, "localhost"], checkouts)
        done: list[Installed] = []
        for peer, monitor_port in zip(nodes, description.monitor_ports, strict=True):
            request = Request(
                profile="production",
                node=peer.name,
                peers=",".join(description.peers),
                monitor_port=monitor_port,
                websocket_port=0,
                supervisor="detached",
                server=server,
                user_config=False,
                pki=pki.directory,
                checkouts=checkouts,
            )
            done.append(install(Layout(self.prefix / peer.name), request, timeout=timeout))
        return done

    def _checkouts(self, nodes: Sequence[Peer]) -> tuple[Path, ...]:
        """Those of the nodes that are there: any of them may be the one that was lost."""
        records = (find_record(Layout(self.prefix / peer.name)) for peer in nodes)
        return next((record.checkouts for record in records if record is not None), ())

    def kill(self, node: str) -> None:
        """Kill the node and its supervisor, as a crash of its host does."""
        layout = self.layout(node)
        for find in (find_supervisor_process, find_server_process):  # in this order, or it would be started again
            if (process := find(layout)) is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                    psutil.wait_procs([process], timeout=10)

    def freeze(self, node: str) -> None:
        """Freeze the node (SIGSTOP): its connections stay open and nothing answers.

        Raises:
            StartFailed: it does not run.
        """
        self._running(node).send_signal(signal.SIGSTOP)

    def thaw(self, node: str) -> None:
        """Resume a frozen node (SIGCONT).

        Raises:
            StartFailed: it does not run.
        """
        self._running(node).send_signal(signal.SIGCONT)

    def stop(self, node: str, *, timeout: float = 15.0) -> str:
        """End a node gracefully; it stays down."""
        layout = self.layout(node)
        with prefix_lock(layout):
            return stop(layout, record_of(layout), timeout=timeout)

    def restart(self, node: str, *, timeout: float = 60.0) -> str:
        """Start a node that is down, or stop and start one that runs; wait until it has caught up.

        Raises:
            StartFailed: it did not come up or did not catch up in time.
        """
        layout = self.layout(node)
        record = record_of(layout)
        with prefix_lock(layout):
            stop(layout, record, timeout=timeout)
            outcome = start(layout, record, timeout=timeout)
            wait_for_peers(record, timeout)
        return outcome

    def upgrade(
        self,
        node: str,
        *,
        server: Path | None = None,
        back: bool = False,
        restart: bool = False,
        timeout: float = 120.0,
    ) -> Upgraded:
        """Bring one node to another version under running clients, as ``mts1b-deploy upgrade`` does."""
        return upgrade(self.layout(node), server=server, back=back, restart=restart, timeout=timeout)

    def status(self) -> list[NodeState]:
        """Every node as it is now."""
        return [self._state(node) for node in self.names()]

    def down(self, *, purge: bool = False, timeout: float = 15.0) -> None:
        """Stop every node and remove it; the data stays unless ``purge``."""
        for node in self.names():
            with contextlib.suppress(NotInstalled):
                uninstall(self.layout(node), purge=purge, timeout=timeout)
        if purge:
            self._file.unlink()
            remove_tree(self.prefix / "pki")
            remove_if_empty(self.prefix)

    def _state(self, node: str) -> NodeState:
        layout = self.layout(node)
        record, process = record_of(layout), find_server_process(layout)
        frozen = process is not None and process.status() == psutil.STATUS_STOPPED
        answers = process is not None and not frozen
        page = (read_monitor(LOOPBACK, record.monitor_port, "/jsz") if answers else None) or {}
        return NodeState(
            node=node,
            url=record.url,
            pid=process.pid if process else None,
            state="frozen" if frozen else "running" if process else "down",
            healthy=answers and is_healthy(LOOPBACK, record.monitor_port),
            leads=page.get("meta_cluster", {}).get("leader") == node,
        )

    def _running(self, node: str) -> psutil.Process:
        process = find_server_process(self.layout(node))
        if process is None:
            raise StartFailed(f"node {node} does not run: `mts1b-deploy cluster restart {node}` starts it")
        return process

    def _description(self) -> _Description:
        try:
            return _Description.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            raise NotInstalled(
                f"there is no cluster under {self.prefix}: `mts1b-deploy cluster up --local 3` makes one"
            ) from None
        except (OSError, ValidationError) as error:
            raise ConfigFileError(f"{self._file} cannot be understood: {error}") from error

    def _describe(self, size: int) -> _Description:
        """What was described before, else ``size`` nodes on ports that are free now."""
        with contextlib.suppress(NotInstalled):
            return self._description()
        if size < QUORUM:
            raise UnknownName(f"--local {size}: a cluster that keeps three copies needs three nodes or more")
        ports = self._ports(3 * size)
        peers = [Peer(f"n{n + 1}", LOOPBACK, ports[3 * n], ports[3 * n + 1]) for n in range(size)]
        description = _Description(peers=tuple(map(str, peers)), monitor_ports=tuple(ports[2::3]))
        self.prefix.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, (description.model_dump_json(indent=2) + "\n").encode(), 0o644)
        return description


def _free_ports(count: int) -> Sequence[int]:
    """Ports that are free now, below the range from which the kernel serves outgoing connections."""
    chosen: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if not address_in_use(LOOPBACK, port):
            chosen.append(port)
        if len(chosen) == count:
            break
    return chosen
