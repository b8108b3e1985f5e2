"""The simulation finds what the mends of the bus mend: it is asked with each of them taken out."""

from collections.abc import Callable
from typing import Any

import pytest
from mts1b_platform.eventbus.consuming.consumer import Consumer
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.consuming.settling import Settler
from mts1b_platform.eventbus.consuming.tries import Tries
from mts1b_platform.eventbus.events.event import Event

from simulation.plan import make_plan
from simulation.run import simulate

_SEEDS = 40


async def _hold_nothing(_: Prefetch) -> None:
    """Nothing is sorted at the start of a reader."""


def _recognise_nothing(*_: Any) -> bool:
    """What this process holds or has acknowledged is handed out again."""
    return False


async def _count_deliveries(_: Tries, event: Event[Any], most: int) -> int:
    """Deliveries are taken for tries."""
    del most
    return event.deliveries


def _tell_nobody(_: Settler, event: Event[Any]) -> None:
    """Whoever waits for the end of a suspect waits for ever."""
    del event


@pytest.mark.parametrize(
    ("owner", "name", "instead", "profile", "oracle"),
    [
        (Prefetch, "_hold_what_was_under_way", _hold_nothing, "stops", "order of the stream"),
        (Consumer, "_was_seen", _recognise_nothing, "block", "handled again by the same process"),
        (Tries, "begin", _count_deliveries, "stops", "deliveries taken for failures"),
        (Settler, "_let_the_next_begin", _tell_nobody, "crash", "never handled"),
    ],
)
def test_without_it_a_promise_is_broken(
    owner: type, name: str, instead: Callable[..., Any], profile: str, oracle: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(owner, name, instead)
    for seed in range(_SEEDS):
        if any(violation.oracle == oracle for violation in simulate(make_plan(seed, profile)).violations):
            return
    pytest.fail(f"{_SEEDS} seeds of {profile} do not miss {owner.__name__}.{name}")
