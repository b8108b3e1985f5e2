"""A feed put back in order."""

import random

from hypothesis import given
from hypothesis import strategies as st
from mts1b_desk.sequencer import Sequencer


def make(**options: int) -> Sequencer[int]:
    return Sequencer(lambda item: item, **options)


@given(st.integers(0, 200), st.randoms(use_true_random=False), st.floats(0, 0.9))
def test_whatever_is_lost_reordered_or_repeated_everything_comes_out_once_and_in_order(
    total: int, rng: random.Random, loss: float
):
    sequencer = make()
    arriving = [item for item in range(1, total + 1) if rng.random() >= loss]
    arriving += [item for item in arriving if rng.random() < 0.2]
    if rng.random() < 0.5:
        rng.shuffle(arriving)
    out: list[int] = []
    for item in arriving:
        out += sequencer.offer(item)
    sequencer.expect(total)
    while (missing := sequencer.missing) is not None:
        first, last = missing
        assert first == sequencer.taken + 1
        assert first <= last
        for item in range(first, last + 1):
            out += sequencer.offer(item)
    assert out == list(range(1, total + 1))
    assert sequencer.complete


def test_a_gap_is_known_as_soon_as_something_behind_it_arrives():
    sequencer = make()
    assert sequencer.offer(1) == (1,)
    assert sequencer.missing is None
    assert sequencer.offer(5) == ()
    assert sequencer.missing == (2, 4)


def test_a_missing_end_is_known_when_the_total_is():
    sequencer = make()
    sequencer.offer(1)
    sequencer.expect(3)
    assert not sequencer.complete
    assert sequencer.missing == (2, 3)


def test_early_items_are_held_up_to_a_limit_and_the_rest_is_fetched_later():
    sequencer = make(limit=2)
    for item in (3, 4, 5, 6):
        sequencer.offer(item)
    assert list(sequencer.offer(1)) == [1]
    assert sequencer.offer(2) == [2, 3, 4]
    sequencer.expect(6)
    assert sequencer.missing == (5, 6)


def test_a_reader_goes_on_where_it_was():
    sequencer = make(taken=10)
    assert sequencer.offer(10) == ()
    assert sequencer.repeated == 1
    assert sequencer.offer(11) == (11,)
