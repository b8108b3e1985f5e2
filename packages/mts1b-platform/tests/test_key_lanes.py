"""Order per key, for every interleaving of arrivals and departures."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.eventbus.key_lanes import KeyLanes


def test_the_second_of_a_key_waits_for_the_first():
    lanes: KeyLanes[str] = KeyLanes()
    assert lanes.enter("a", "a1")
    assert not lanes.enter("a", "a2")
    assert lanes.enter("b", "b1")
    assert len(lanes) == 1
    assert lanes.leave("a") == "a2"
    assert lanes.leave("a") is None
    assert lanes.enter("a", "a3")


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200))
def test_every_item_goes_once_in_the_order_of_its_key_with_one_under_way(steps: list[tuple[int, bool]]):
    lanes: KeyLanes[tuple[int, int]] = KeyLanes()
    under_way: dict[int, tuple[int, int]] = {}
    went: defaultdict[int, list[int]] = defaultdict(list)
    arrived: defaultdict[int, int] = defaultdict(int)

    def go(item: tuple[int, int]) -> None:
        key, number = item
        assert key not in under_way
        under_way[key] = item
        went[key].append(number)

    def leave(key: int) -> None:
        del under_way[key]
        if (following := lanes.leave(key)) is not None:
            go(following)

    for key, arrives in steps:
        if arrives:
            item = (key, arrived[key])
            arrived[key] += 1
            if lanes.enter(key, item):
                go(item)
        elif key in under_way:
            leave(key)
    while under_way:
        leave(next(iter(under_way)))
    assert len(lanes) == 0
    assert {key: list(range(count)) for key, count in arrived.items()} == dict(went)
