"""The bus keeps its promises in simulated worlds: the corpus of shrunk plans, and fixed seeds of every profile."""

import gc
import json
from pathlib import Path

import pytest
from mts1b_platform.testing.simulation.world import World

from simulation.campaign import Campaign, portions
from simulation.known import known
from simulation.plan import PROFILES, Plan, make_plan
from simulation.run import simulate

_CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))
_SEEDS = 4
"""Of each profile; `make simulate` takes a thousand, in `make check` too."""


@pytest.mark.parametrize("file", _CORPUS, ids=[file.stem for file in _CORPUS])
def test_what_was_broken_once_stays_mended(file: Path):
    document = json.loads(file.read_text())
    plan = Plan.from_json(json.dumps(document["plan"]))
    result = simulate(plan)
    new = [violation for violation in result.violations if known(plan, violation) is None]
    assert not new, f"{document['fault']}: {new}"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_seed_gives_the_same_transcript(profile: str):
    effects = 0
    for seed in range(4):
        plan = make_plan(seed, profile)
        assert Plan.from_json(plan.to_json()) == plan
        first, second = simulate(plan), simulate(plan)
        assert first.lines == second.lines
        assert first.checksum == second.checksum
        effects += first.effects
    assert effects


@pytest.mark.parametrize("profile", PROFILES)
def test_promises_are_kept_whatever_goes_wrong(profile: str):
    campaign = Campaign()
    campaign.run(range(_SEEDS), profile)
    print(campaign.summary())
    assert not campaign.failed, [f"{oracle}: {result.plan.to_json()}" for result, oracle in campaign.failed]
    assert not campaign.mended, "known.py"


def test_a_long_campaign_is_the_same_in_processes_of_its_own():
    alone = Campaign()
    alone.run(range(3), "stops")
    (apart,) = portions(range(3), "stops", jobs=1)
    assert (apart.seeds, apart.injected, apart.effects) == (alone.seeds, alone.injected, alone.effects)


@pytest.mark.parametrize("profile", ["mixed", "outbox", "service"])
def test_a_world_that_is_over_is_let_go(profile: str):
    for seed in range(2):
        simulate(make_plan(seed, profile))
    while gc.collect():  # what a finalizer still held goes with the next one
        pass
    assert [each for each in gc.get_objects() if isinstance(each, World)] == []
