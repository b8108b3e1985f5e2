"""What was under way comes first and in order, whatever order it arrives in."""

from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.eventbus.barrier import Barrier


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 5), min_size=1))
def test_nothing_newer_is_released_before_all_that_was_under_way_has_come(arrivals: list[int], under_way: set[int]):
    barrier: Barrier[int] = Barrier(len(under_way), 5)
    came: list[int] = []
    for seq in arrivals:
        if seq <= 5 and seq not in under_way:
            continue  # acknowledged before the crash: it does not come again
        barrier.came(seq)
        barrier.hold(seq, seq)
        came.append(seq)
        assert (barrier.missing == 0) == (under_way <= set(came))
        if barrier.missing == 0:
            break
    assert barrier.release() == sorted(came)
    assert barrier.release() == []


def test_a_message_that_comes_twice_counts_once():
    barrier: Barrier[str] = Barrier(2, 10)
    barrier.came(3)
    barrier.came(3)
    assert barrier.missing == 1
