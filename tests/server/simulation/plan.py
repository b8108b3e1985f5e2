"""What one simulation does, as data: made from a seed, printed when it fails, made smaller, repeated."""

import json
import random
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self

Workload = Literal["orders", "outbox", "service", "books", "standby", "share"]
Reading = Literal["run", "generator", "dropped"]

MODES: Final = frozenset({"block", "fail", "slow", "abort", "generator", "dropped"})
"""What holds for a whole simulation; everything else happens at a time."""
ONCE: Final = frozenset({"rollback", "recreate"})
"""What happens once at most."""

PROFILES: Final[dict[str, tuple[str, ...]]] = {
    "stops": ("graceful",),
    "starts": ("kill_server", "graceful"),
    "graceful": ("graceful", "slow"),
    "freeze": ("freeze", "slow"),
    "block": ("block",),
    "crash": ("kill", "fail", "slow"),
    "net": ("cut", "half", "lag", "narrow", "kill_server", "freeze_server", "leader", "slow"),
    "clocks": ("wall", "graceful", "slow"),
    "rollback": ("rollback", "slow"),
    "recreate": ("recreate", "fail", "slow"),
    "err": ("err", "slow"),
    "mixed": (
        *("cut", "half", "lag", "narrow", "kill_server", "freeze_server", "kill", "graceful", "freeze", "leader"),
        *("wall", "err", "block", "fail", "slow"),
    ),
    "leases": ("wall", "kill"),
    "outbox": ("cut", "half", "kill_server", "kill", "graceful", "freeze", "leader", "wall", "block", "fail", "abort"),
    "service": ("cut", "half", "kill_server", "kill", "graceful", "freeze", "leader", "wall", "fail", "slow"),
    "standby": (
        *("kill", "freeze", "graceful", "kill_server", "freeze_server", "cut", "half", "lag", "leader", "wall", "slow"),
    ),
    "share": (
        *("kill", "freeze", "graceful", "kill_server", "freeze_server", "cut", "half", "lag", "leader", "wall", "slow"),
    ),
    "claims": ("wall", "kill", "kill_server"),
    "drain": ("graceful",),
    "contexts": ("generator",),
    "dropped": ("dropped",),
    "bytes": ("bytes", "graceful", "slow"),
    "full": ("full", "slow"),
}
"""By profile the faults that a seed may use; each seed draws some of them."""

_WORKLOADS: Final[dict[str, Workload]] = {
    "outbox": "outbox",
    "leases": "outbox",
    "service": "service",
    "claims": "service",
    "drain": "books",
    "standby": "standby",
    "share": "share",
}
"""Of profiles whose workload is another than orders."""
_ROLES: Final[dict[Workload, tuple[str, ...]]] = {
    "orders": ("oms", "plain", "ordered"),
    "outbox": ("oms", "relay", "reader-a", "reader-b"),
    "service": ("oms", "service-a", "service-b"),
    "books": ("oms", "service-a"),
    "standby": ("oms", "standby-a", "standby-b", "standby-c"),
    "share": ("oms", "share-a", "share-b", "share-c"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    at: float
    kind: str
    who: str
    """The role that it happens to, where it happens to one."""
    x: float
    """Between 0 and 1: how much of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one simulation does."""

    seed: int
    """Decides what the plan leaves open: latencies, and in which order things happen."""
    profile: str = "mixed"
    workload: Workload = "orders"
    events: int = 20
    keys: int = 1
    ack_wait: float = 2.0
    prefetch: int = 16
    max_deliveries: int = 3
    concurrency: int = 1
    pace: float = 0.0
    """Seconds between two events of the producer."""
    work: float = 0.0
    """Seconds that a handler awaits."""
    block: float = 0.0
    """Seconds that a handler blocks its loop."""
    fail: float = 0.0
    """Share of handlings that raise."""
    abort: float = 0.0
    """Share of business transactions that are rolled back."""
    reading: Reading = "run"
    """How readers read: by ``run``, through a generator each step of which is asked for in a task of its own, or a few
    events each time, from a consumer that is then dropped."""
    deadline: float = 60.0
    """Seconds that the producer gives an emit before it begins anew."""
    faults: tuple[Fault, ...] = field(default=())

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its faults, modes included."""
        modes = {"block": self.block, "fail": self.fail, "slow": self.work, "abort": self.abort}
        modes |= {"generator": self.reading == "generator", "dropped": self.reading == "dropped"}
        return frozenset({fault.kind for fault in self.faults} | {name for name, much in modes.items() if much})

    @property
    def last_fault(self) -> float:
        """When the last fault happens."""
        return max((fault.at for fault in self.faults), default=0.0)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan of :meth:`to_json`."""
        document: dict[str, Any] = json.loads(text)
        document["faults"] = tuple(Fault(**fault) for fault in document.get("faults", ()))
        return cls(**document)


def make_plan(seed: int, profile: str) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"{profile} {seed}")  # noqa: S311 - a seed is to repeat
    allowed = PROFILES[profile]
    chosen = [kind for kind in allowed if rng.random() < (0.4 if len(allowed) > 3 else 0.8)] or [rng.choice(allowed)]
    workload = _WORKLOADS.get(profile, "orders")
    plan = Plan(
        seed,
        profile,
        workload,
        events=rng.choice((10, 20, 40)),
        keys=rng.choice((1, 3, 8)),
        ack_wait=rng.choice((1.0, 2.0, 5.0)),
        prefetch=rng.choice((1, 4, 16, 512)),
        max_deliveries=rng.choice((2, 3, 5)),
        concurrency=rng.choice((1, 1, 3)),
        pace=rng.choice((0.0, 0.01, 0.1)),
        work=rng.choice((0.02, 0.2)) if "slow" in chosen else rng.choice((0.0, 0.005)),
        block=rng.choice((0.02, 0.1, 0.3)) if "block" in chosen else 0.0,
        fail=rng.choice((0.05, 0.3)) if "fail" in chosen else 0.0,
        abort=0.2 if "abort" in chosen else 0.0,
        reading="generator" if "generator" in chosen else "dropped" if "dropped" in chosen else "run",
    )
    happen = [kind for kind in chosen if kind not in MODES]
    plan = replace(plan, faults=_faults(rng, happen, _ROLES[workload], span=_span(rng, plan)))
    if profile == "stops":
        stops = tuple(
            Fault(at, "graceful", "plain", 0.5) for at in sorted(round(rng.uniform(0.2, 3), 3) for _ in "123")
        )
        return replace(
            plan, events=60, concurrency=1, pace=0.0, work=rng.choice((0.02, 0.05)), prefetch=512, faults=stops
        )
    if profile == "starts":
        faults = (
            Fault(round(rng.uniform(0.001, 0.01), 4), "kill_server", "oms", round(rng.random(), 4)),
            Fault(round(rng.uniform(0.001, 0.01), 4), "graceful", "plain", 0.5),
        )
        return replace(plan, faults=tuple(sorted(faults, key=lambda fault: fault.at)))
    if profile in {"leases", "claims"}:  # who holds a lease dies, and then the clock goes back
        who = "relay" if profile == "leases" else "service-a"
        plan = plan if profile == "leases" else replace(plan, work=0.2)
        died = round(rng.uniform(0, plan.events * max(plan.pace, plan.work / 2) + 0.3), 3)
        x = round(rng.random(), 4)
        faults = (Fault(died, "kill", who, x), Fault(round(died + 0.1, 3), "wall", who, x / 2))
        if profile == "claims":
            faults += (Fault(round(died + 0.2, 3), "kill_server", who, x),)
        return replace(plan, faults=faults)
    if profile == "drain":  # handlers that take longer than a service that ends gives them
        stops = tuple(Fault(round(at + rng.random(), 3), "graceful", "service-a", 0.5) for at in (0.2, 4.0))
        return replace(plan, events=10, concurrency=3, work=1.5, faults=stops)
    if profile == "full":
        return replace(plan, deadline=1.0, pace=0.1)
    return plan


def _span(rng: random.Random, plan: Plan) -> float:
    """Seconds within which faults happen: mostly those in which there is work."""
    work = plan.events * max(plan.pace, plan.work / plan.concurrency, plan.block)
    return rng.choice((0.3, 0.5 + work, 0.5 + work, 1.0 + 2 * work, 10.0))


def _faults(rng: random.Random, kinds: list[str], roles: tuple[str, ...], span: float) -> tuple[Fault, ...]:
    faults = [
        Fault(round(rng.uniform(0, span), 3), kind, rng.choice(roles), round(rng.random(), 4))
        for kind in kinds
        for _ in range(1 if kind in ONCE else rng.randint(1, 3))
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at))
