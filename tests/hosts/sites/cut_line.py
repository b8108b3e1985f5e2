"""A hub, an edge, and the hub's mirror, on hosts of their own, while the lines between them are cut in every way: what
is lost, what is doubled, whether order is kept, and how soon after the cut events come again.
"""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from cluster_load import SPEC_READER
from network_hosts import Cut, Hosts

EDGE: Final = "gw1"
MIRROR: Final = "b"
_SERVICES: Final = Path(__file__).parent / "site_services.py"
_EVERY: Final = 0.02
"""Seconds between two orders at each place."""
_PATIENCE: Final = 180.0


@dataclass(frozen=True, slots=True)
class Said:
    """One order that was acknowledged or read."""

    at: float
    key: str
    seq: int

    @property
    def place(self) -> str:
        """Where it was emitted."""
        return self.key.partition("-")[0]

    @property
    def number(self) -> int:
        """The how manieth there."""
        return int(self.key.partition("-")[2])


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What one site had missed, and how soon it had that, in seconds after the line was whole."""

    missed: int
    first: float
    last: float

    def __str__(self) -> str:
        return f"{self.missed:,} missed, the first after {self.first:.1f} s, the last after {self.last:.1f} s"


@dataclass(frozen=True, slots=True)
class Healed:
    """One cut, and what followed."""

    how: Cut
    seconds: float
    hub: CaughtUp
    mirror: CaughtUp | None

    @property
    def first(self) -> float:
        """Seconds until the first event came, at the site where that took longest."""
        return max(self.hub.first, self.mirror.first if self.mirror else 0.0)


@dataclass(slots=True)
class Judgement:
    """What is left of it all."""

    nodes: int
    acked: int
    lost: list[str]
    doubled: list[str]
    unordered: list[str]
    """Orders of one place that stand before an earlier one of it."""

    not_copied: int
    """Orders that stand at the hub, and not under the same sequence in its mirror."""
    cuts: list[Healed]

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.unordered or self.not_copied)

    def __str__(self) -> str:
        kept = f"lost {len(self.lost)}, doubled {len(self.doubled)}, out of order {len(self.unordered)}"
        lines = [f"hub of {self.nodes}: {self.acked:,} orders acknowledged at hub and edge: {kept}"]
        for each in self.cuts:
            lines.append(f"  {each.how} for {each.seconds:.0f} s: the hub: {each.hub}")
            if each.mirror:
                lines.append(f"  {each.how} for {each.seconds:.0f} s: its mirror: {each.mirror}")
        if any(each.mirror for each in self.cuts):
            lines.append(f"  not in the mirror, or elsewhere in it: {self.not_copied}")
        return "\n".join(lines)


class HubAndEdge:
    """Both of them installed as docs/sites.md says, with services that emit at both and read at the hub.

    Args:
        root: where everything lives.
        nodes: of the hub: 1, profile single with a mirror, or 3, profile production.
    """

    def __init__(self, root: Path, nodes: int) -> None:
        self._root = root
        self._nodes = [f"n{number}" for number in range(1, nodes + 1)] if nodes > 1 else ["hub"]
        self._mirrors = [MIRROR] if nodes == 1 else []
        self._hosts = Hosts(root, (*self._nodes, *self._mirrors, EDGE))
        self._stack = ExitStack()
        self._files: dict[str, Path] = {}
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._cuts: list[Healed] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hosts.remove()
        for process in self._running.values():
            process.wait()
        self._stack.close()

    def install(self) -> None:
        """Servers, `follow` on every node of the hub, and the services."""
        first, *others = self._nodes
        common = ("install", "--supervisor", "detached", "--no-user-config", "--websocket-port", "0")
        hub = (*common, "--site", "hub", "--edges", self._hosts.places(EDGE), "--checkout", str(SPEC_READER))
        if others:
            hub = (*hub, "--profile", "production", "--peers", self._hosts.places(*self._nodes))
            self._hosts.deploy(first, *hub, "--node", first)
            for name in others:
                self._hosts.deploy(name, *hub, "--node", name, "--pki", str(self._pki))
        else:
            sites = ("--sites", self._hosts.places(first, MIRROR))
            self._hosts.deploy(first, *hub, *sites, "--profile", "single")
            mirror = ("mirror", *common[1:], "--checkout", str(SPEC_READER), "--site", MIRROR, *sites)
            self._hosts.deploy(MIRROR, *mirror, "--pki", str(self._pki))
        edge = (*common, "--profile", "edge", "--site", EDGE, "--pki", str(self._pki))
        self._hosts.deploy(EDGE, *edge, "--hub", self._hosts.places(*self._nodes))
        for name in (*self._nodes, *self._mirrors):
            self._running[f"follow {name}"] = self._hosts.begin_deploy(
                name, "follow", into=self._file(f"follow {name}")
            )
        self._serve("read", first, "read")
        for name in self._mirrors:
            self._serve(name, name, "copy")
        self._serve(first, first, "emit", first, str(_EVERY))
        self._serve(EDGE, EDGE, "emit", EDGE, str(_EVERY))
        self._until(lambda: {each.place for each in self._said("read")} == {first, EDGE})

    def cut(self, how: Cut, seconds: float) -> None:
        """Cut edge and mirror off for so long, and wait until hub and mirror have everything."""
        cut = (EDGE, *self._mirrors)
        for name in cut:
            self._hosts.cut(name, how)
        time.sleep(seconds)
        for name in cut:
            self._hosts.mend(name, how)
        whole = time.monotonic()
        hub = self._caught_up("read", self._said(EDGE), whole)
        mirror = self._caught_up(MIRROR, self._said(self._nodes[0]), whole) if self._mirrors else None
        self._cuts.append(Healed(how, seconds, hub, mirror))

    def _caught_up(self, name: str, stored: list[Said], whole: float) -> CaughtUp:
        """Wait until ``name`` has what was stored elsewhere when the line was whole again."""
        wanted = {each.key for each in stored if each.at < whole}
        self._until(lambda: wanted <= {each.key for each in self._said(name)})
        came = [each.at - whole for each in self._said(name) if each.key in wanted and each.at > whole]
        return CaughtUp(len(came), min(came, default=0.0), max(came, default=0.0))

    def judge(self) -> Judgement:
        """End the services, and look at what was acknowledged and what was read."""
        places = (self._nodes[0], EDGE)
        for name in places:
            self._end(name)
        acked = [each.key for name in places for each in self._said(name)]
        self._until(lambda: set(acked) <= {each.key for each in self._said("read")}, fail=False)
        read = {(each.seq, each.key) for each in self._said("read")}
        not_copied = 0
        if self._mirrors:
            self._until(lambda: read <= {(each.seq, each.key) for each in self._said(MIRROR)}, fail=False)
            self._end(MIRROR)
            not_copied = len(read ^ {(each.seq, each.key) for each in self._said(MIRROR)})
        self._end("read")
        seqs: dict[str, set[int]] = {}
        for each in self._said("read"):
            seqs.setdefault(each.key, set()).add(each.seq)
        unordered: list[str] = []
        for name in places:
            stored = sorted((min(seqs[key]), key) for key in seqs if key.startswith(f"{name}-"))
            numbers = [int(key.partition("-")[2]) for _, key in stored]
            unordered += [f"{name}-{later}" for earlier, later in pairwise(numbers) if later < earlier]
        doubled = [key for key, found in seqs.items() if len(found) > 1]
        lost = sorted(set(acked) - set(seqs))
        return Judgement(len(self._nodes), len(acked), lost, doubled, unordered, not_copied, self._cuts)

    @property
    def _pki(self) -> Path:
        return self._hosts.prefix(self._nodes[0]) / "etc" / "pki"

    def _serve(self, name: str, host: str, role: str, *rest: str) -> None:
        words = (str(_SERVICES), role, str(self._hosts.prefix(host)), *rest)
        self._running[name] = self._hosts.begin(host, *words, into=self._file(name))

    def _end(self, name: str) -> None:
        process = self._running[name]
        process.terminate()
        assert process.wait(120) == 0, f"{name} ended with {process.returncode}:\n{self._story()}"

    def _file(self, name: str) -> IO[str]:
        self._files[name] = self._root / f"{name}.log"
        return self._stack.enter_context(self._files[name].open("w"))

    def _said(self, name: str) -> list[Said]:
        lines = self._files[name].read_text().splitlines()
        return [Said(**json.loads(line)) for line in lines if line.startswith("{") and line.endswith("}")]

    def _until(self, condition: Callable[[], bool], *, fail: bool = True) -> None:
        """Ask again and again; when that takes too long, fail, or go on."""
        ends = time.monotonic() + _PATIENCE
        while not condition():
            ended = [name for name, process in self._running.items() if process.poll()]
            assert not ended, f"{', '.join(ended)} ended:\n{self._story()}"
            if time.monotonic() > ends:
                assert not fail, self._story()
                return
            time.sleep(0.2)

    def _story(self) -> str:
        """What everybody said last."""
        return "\n".join(f"{name}: {path.read_text()[-1_500:]}" for name, path in self._files.items())
