"""What was aimed at, judged against what was measured; a missing figure is said to be missing, not reached."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import bench_core as core
import bench_end_to_end as end_to_end
import bench_jetstream as jetstream
from harness import PURE, Section


@dataclass(frozen=True)
class Target:
    """A figure of a contestant, by itself or as a ratio to that of another, and the least or most that is wanted."""

    measure: str
    section: str
    ours: str
    theirs: str
    """Whose figure ours is divided by; empty: ours is judged by itself."""
    figure: str
    wanted: float
    at_most: bool = False
    unit: str = "x"
    around: float = 0.0
    """By how much ours may differ from what is wanted, as a share of it; 0: it is a least or a most."""


@dataclass(frozen=True)
class Verdict:
    """One line of the table."""

    measure: str
    target: str
    measured: str
    reached: str
    """yes, no, or not measured."""
    floor: str
    """What the server alone takes of an event, which no client can do without."""


def _p99(rate: int, most: float) -> Target:
    what = f"p99 at {rate:,}/s, bus with metrics, against the C client"
    return Target(what, core.latency_key(rate), core.METRICS, core.C_CLIENT, "sub_p99", most, at_most=True)


def _counted(what: str, most: float, pure: float) -> tuple[Target, Target]:
    key = f"instructions {what}"
    ours = Target(f"instructions, a quote {what}, with metrics", key, core.METRICS, "", "instructions", most,
                  at_most=True, unit="")  # fmt: skip
    before = Target("the same in pure Python, as before there was a core", key,
                    core.METRICS + PURE, "", "instructions", pure, unit="", around=0.03)  # fmt: skip
    return ours, before


TARGETS = (
    Target("core, bus with metrics, against raw nats-py", "core", core.METRICS, core.RAW, "rate", 6),
    Target("core, bus with metrics, against the C client", "core", core.METRICS, core.C_CLIENT, "rate", 2.5),
    Target("core, bus with metrics in pure Python, against raw nats-py", "core", core.METRICS + PURE, core.RAW,
           "rate", 2.6),
    Target("core, bus typed, against FastStream", "core", core.BUS, core.FASTSTREAM, "rate", 15),
    *_counted("published", 10_000, 17_664),
    *_counted("received", 13_500, 39_851),
    Target("instructions, an order consumed", "instructions consumed", jetstream.CONSUME, "", "instructions", 25_000,
           at_most=True, unit=""),
    Target("CPU to publish, bus with metrics, of raw nats-py", "core", core.METRICS, core.RAW, "pub_us", 0.09,
           at_most=True),
    Target("CPU to receive, bus with metrics, of raw nats-py", "core", core.METRICS, core.RAW, "sub_us", 0.12,
           at_most=True),
    _p99(1_000, 1.3),
    _p99(5_000, 1.7),
    Target("JetStream publish, bus.emit_many, against publish_async", "publish", jetstream.EMIT_MANY,
           jetstream.ASYNC, "rate", 3.6),
    Target("JetStream consume, bus.consume, CPU an order", "consume", jetstream.CONSUME, "", "us", 3.5, at_most=True,
           unit=" µs"),
    Target("JetStream consume, bus.consume, against push", "consume", jetstream.CONSUME, jetstream.PUSH, "rate", 2.5),
    Target("JetStream consume, bus.consume, against fetch", "consume", jetstream.CONSUME, jetstream.FETCH, "rate", 5),
    Target("durable end to end, bus, against Redis Streams", "end to end", end_to_end.BUS, end_to_end.REDIS,
           "rate", 1.8),
    Target("on fsync, atomic batches against single pipelined", "fsync", jetstream.ATOMIC, jetstream.PIPELINED,
           "rate", 15),
)  # fmt: skip


def names() -> frozenset[str]:
    """Whoever is judged here, or stands beside."""
    return frozenset(name for target in TARGETS for name in (target.ours, target.theirs) if name)


def judge(sections: Sequence[Section]) -> list[Verdict]:
    """A verdict on every target of whose section both contestants took part."""
    by_key = {section.key: section for section in sections}
    verdicts: list[Verdict] = []
    for target in TARGETS:
        section = by_key.get(target.section)
        if section is not None and {target.ours, target.theirs} - {""} <= {o.contestant.name for o in section.outcomes}:
            verdicts.append(_judge(target, section))
    return verdicts


def _judge(target: Target, section: Section) -> Verdict:
    ours = section.median(target.ours, target.figure)
    measured = ours / section.median(target.theirs, target.figure) if target.theirs else ours
    form = ",.0f" if target.unit == "" else ".2f"
    wanted = f"{target.wanted:,g}{target.unit}"
    sign = "≤" if target.at_most else "≥"
    goal = f"{wanted} ± {target.around:.0%}" if target.around else f"{sign} {wanted}"
    server = section.median(target.ours, "server_us")
    floor = "" if math.isnan(server) else f"server {server:.1f} µs an event"
    if math.isnan(measured):
        return Verdict(target.measure, goal, "", "not measured", floor)
    if target.around:
        reached = abs(measured / target.wanted - 1) <= target.around
    else:
        reached = measured <= target.wanted if target.at_most else measured >= target.wanted
    return Verdict(target.measure, goal, f"{measured:{form}}{target.unit}", "yes" if reached else "no", floor)
