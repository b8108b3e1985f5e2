"""Many seeds: what they did, how fast, what they broke.

A process that was killed in a simulation leaves its event loop with everything in it, and threads of SQLite that wait
for ever. So a long campaign takes its seeds in portions, each in a process of its own: memory stays bounded, and every
core is used.
"""

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from simulation.known import KNOWN, known
from simulation.plan import PROFILES, Plan, make_plan
from simulation.run import Result, simulate

SHOWS_WITHIN: Final = 60
"""Seeds of its profile after which a known fault must have shown itself."""
_PORTION: Final = 250
"""Seeds of one process."""


def profile_of(seed: int, profile: str) -> str:
    """With ``all``, seeds take turns through the profiles."""
    names = list(PROFILES)
    return names[seed % len(names)] if profile == "all" else profile


@dataclass
class Campaign:
    """Results of many seeds."""

    seeds: Counter[str] = field(default_factory=Counter)
    """How many, by profile."""
    injected: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    """Seeds that showed a known fault, by its name."""
    failed: list[tuple[Result, str]] = field(default_factory=list)
    """Results with the promise that they broke."""
    virtual: float = 0.0
    effects: int = 0
    seconds: float = 0.0
    """Of this processor, which others may use too."""

    def run(self, seeds: Iterable[int], profile: str) -> None:
        """Simulate the plans of ``seeds``."""
        for seed in seeds:
            self.take(make_plan(seed, profile_of(seed, profile)))

    def take(self, plan: Plan) -> Result:
        """Simulate one plan."""
        began = time.process_time()
        result = simulate(plan)
        self.seconds += time.process_time() - began
        self.seeds[plan.profile] += 1
        self.injected += result.injected
        self.virtual += result.virtual
        self.effects += result.effects
        names = {violation: known(plan, violation) for violation in result.violations}
        self.known.update({name for name in names.values() if name is not None})
        for oracle in {violation.oracle for violation, name in names.items() if name is None}:
            self.failed.append((result, oracle))
        return result

    def add(self, other: "Campaign") -> None:
        """Take in what another one did."""
        self.seeds += other.seeds
        self.injected += other.injected
        self.known += other.known
        self.failed += other.failed
        self.virtual += other.virtual
        self.effects += other.effects
        self.seconds += other.seconds

    @property
    def mended(self) -> list[str]:
        """Known faults that did not show themselves though they had every chance."""
        return [each.name for each in KNOWN if self.seeds[each.profile] >= SHOWS_WITHIN and not self.known[each.name]]

    def summary(self) -> str:
        """What there is to say of it, for people."""
        total = self.seeds.total()
        lines = [
            f"{total} seeds in {self.seconds:.1f} s of one core: {total / (self.seconds or 1):.1f} a second",
            f"{self.effects} events handled in {self.virtual:.0f} s of virtual time",
            "faults injected: " + ", ".join(f"{count} {kind}" for kind, count in self.injected.most_common()),
        ]
        lines += [f"known: {count} seeds: {name}" for name, count in self.known.most_common()]
        lines += [
            f"mended? {name!r} has not shown itself; if that is on purpose, take it out of known.py"
            for name in self.mended
        ]
        lines.append(f"violations: {len(self.failed)}")
        return "\n".join(lines)


def portions(seeds: range, profile: str, jobs: int) -> Iterator[Campaign]:
    """The seeds, ``jobs`` processes at a time, as they are done; a portion is a campaign of its own.

    Closing the iterator drops what has not begun, and waits for what runs.
    """
    parts = [seeds[at : at + _PORTION] for at in range(0, len(seeds), _PORTION)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        waiting: set[Future[Campaign]] = set()
        try:
            while parts or waiting:
                while parts and len(waiting) < jobs:
                    waiting.add(pool.submit(_portion, parts.pop(0), profile))
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _portion(seeds: range, profile: str) -> Campaign:
    campaign = Campaign()
    campaign.run(seeds, profile)
    return campaign
