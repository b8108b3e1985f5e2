"""What sharing the keys out gains and costs, on virtual time: as on processors that nobody else uses."""

import asyncio
from collections import defaultdict
from itertools import pairwise

from mts1b_platform.testing.simulation.clocks import simulated
from mts1b_platform.testing.simulation.settings import isolated_settings
from mts1b_platform.testing.simulation.undisturbed import undisturbed

from simulation.plan import Plan
from simulation.record import Effect
from simulation.run import Run
from simulation.workloads.orders import produce, share
from simulation.workloads.stage import Stage

PLAN = Plan(7, "share", "share", events=400, keys=8, ack_wait=5.0, work=0.005)


def effects_of(plan: Plan, instances: str, late: str = "", leaves: str = "") -> list[tuple[str, Effect]]:
    """Keys and what was done of them, in the order of time.

    An instance that is ``late`` joins after two seconds; one that ``leaves`` does so every two seconds, and comes back.
    """

    async def join(stage: Stage) -> None:
        await asyncio.sleep(2)
        await share(stage)

    async def leave(stage: Stage) -> None:
        stage.stop = asyncio.Event()
        asyncio.get_running_loop().call_later(2, stage.stop.set)
        await share(stage)

    with undisturbed():
        run = Run(plan)
        run.workload.roles = {"oms": produce, **{f"share-{name}": share for name in instances}}
        run.workload.roles |= {f"share-{name}": join for name in late}
        run.workload.roles |= {f"share-{name}": leave for name in leaves}
        with simulated(run.world), isolated_settings():
            run.carry_out()
        run.world.end()
        run.workload.close()
    assert run.quiet
    readers = run.record.readers.values()
    done = [(reader.key or "", effect) for reader in readers for effect in reader.effects]
    assert len(done) == plan.events
    return sorted(done, key=lambda each: each[1].at)


def rate(effects: list[tuple[str, Effect]]) -> float:
    """Events a second while every instance has work."""
    last = {effect.process: effect.at for _, effect in effects}
    began, until = effects[0][1].at, min(last.values())
    return sum(effect.at <= until for _, effect in effects) / (until - began)


def test_four_instances_do_nearly_four_times_the_work_of_one():
    alone, together = rate(effects_of(PLAN, "a")), rate(effects_of(PLAN, "abcd"))
    print(f"{alone:.0f} events a second alone, {together:.0f} together: {together / alone:.2f} times")
    assert together / alone > 3.5


def test_a_join_stops_only_the_keys_that_move_and_these_for_less_than_half_a_second():
    plan = Plan(7, "share", "share", events=1200, keys=8, ack_wait=5.0, work=0.005, pace=0.003)
    whose: dict[str, dict[str, None]] = defaultdict(dict)
    times: dict[str, list[float]] = defaultdict(list)
    for key, effect in effects_of(plan, "abc", late="d"):
        whose[key][effect.process] = None
        if effect.at > 1.5:  # the first ones have found each other
            times[key].append(effect.at)
    stood = {key: max(later - earlier for earlier, later in pairwise(at)) for key, at in times.items()}
    moved = {key for key, processes in whose.items() if "share-d#1" in processes}
    print({key: f"{seconds:.3f} s{', moved' if key in moved else ''}" for key, seconds in sorted(stood.items())})
    assert len(moved) == 2, "its share"
    assert max(stood[key] for key in moved) < 0.5
    assert max(seconds for key, seconds in stood.items() if key not in moved) < 0.2


def test_who_leaves_stops_no_key_for_half_a_second():
    plan = Plan(7, "share", "share", events=550, keys=8, ack_wait=5.0, work=0.005, pace=0.003)
    times: dict[str, list[float]] = defaultdict(list)
    left: set[str] = set()
    for key, effect in effects_of(plan, "ab", leaves="c"):
        if effect.process == "share-c#1":
            left.add(key)
        if effect.at > 1.5:
            times[key].append(effect.at)
    stood = {key: max(later - earlier for earlier, later in pairwise(at)) for key, at in times.items()}
    print({key: f"{seconds:.3f} s" for key, seconds in sorted(stood.items())})
    assert len(left) >= 2, "its share"
    assert max(stood.values()) < 0.5
