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
    """A ratio of two contestants in one figure of one section, with the least or most that is wanted."""

    measure: str
    section: str
    ours: str
    theirs: str
    figure: str
    wanted: float
    at_most: bool = False
    enough: tuple[float, float] | None = None
    """Reached as well when ours is at most the first and theirs at most the second, in the figure's own unit."""


@dataclass(frozen=True)
class Verdict:
    """One line of the table."""

    measure: str
    target: str
    measured: str
    reached: str
    """yes, no, or not measured."""


def _p99(rate: int, ours: str, most: float) -> Target:
    what = f"p99 at {rate:,}/s, {ours.split()[0]}, against the C client"
    return Target(what, core.latency_key(rate), ours, core.C_CLIENT, "sub_p99", most, at_most=True)


TARGETS = (
    Target("core, bus typed, against raw nats-py", "core", core.BUS, core.RAW, "rate", 6),
    Target("core, bus typed, against the C client", "core", core.BUS, core.C_CLIENT, "rate", 2.5),
    Target("core, bus typed in pure Python, against raw nats-py", "core", core.BUS + PURE, core.RAW, "rate", 2.6),
    Target("core, bus typed, against FastStream", "core", core.BUS, core.FASTSTREAM, "rate", 15),
    Target("CPU to publish, bus, of raw nats-py", "core", core.BUS, core.RAW, "pub_us", 0.09, at_most=True),
    Target("CPU to receive, bus, of raw nats-py", "core", core.BUS, core.RAW, "sub_us", 0.12, at_most=True),
    _p99(1_000, core.BUS, 1.3),
    _p99(5_000, core.BUS, 1.7),
    Target("JetStream publish, bus.emit_many, against publish_async", "publish", jetstream.EMIT_MANY,
           jetstream.ASYNC, "rate", 3.6),
    Target("JetStream consume, bus.consume, against push", "consume", jetstream.CONSUME, jetstream.PUSH, "rate", 2.5),
    Target("JetStream consume, bus.consume, against fetch", "consume", jetstream.CONSUME, jetstream.FETCH, "rate", 5),
    Target("durable end to end, bus, against Redis Streams", "end to end", end_to_end.BUS, end_to_end.REDIS,
           "rate", 1.8),
    Target("on fsync, atomic batches against single pipelined", "fsync", jetstream.ATOMIC, jetstream.PIPELINED,
           "rate", 15),
)  # fmt: skip


def judge(sections: Sequence[Section]) -> list[Verdict]:
    """A verdict on every target whose section was measured."""
    by_key = {section.key: section for section in sections}
    return [_judge(target, by_key[target.section]) for target in TARGETS if target.section in by_key]


def _judge(target: Target, section: Section) -> Verdict:
    ours, theirs = section.median(target.ours, target.figure), section.median(target.theirs, target.figure)
    measured = ours / theirs
    goal = f"{'≤' if target.at_most else '≥'} {target.wanted:g}x"
    if target.enough is not None:
        goal += f", or ≤ {target.enough[0]:g} ms beside ≤ {target.enough[1]:g} ms"
    if math.isnan(measured):
        return Verdict(target.measure, goal, "", "not measured")
    reached = measured <= target.wanted if target.at_most else measured >= target.wanted
    if target.enough is not None:
        reached = reached or (ours <= target.enough[0] and theirs <= target.enough[1])
        return Verdict(target.measure, goal, f"{measured:.2f}x ({ours:.2f} ms)", "yes" if reached else "no")
    return Verdict(target.measure, goal, f"{measured:.2f}x", "yes" if reached else "no")
