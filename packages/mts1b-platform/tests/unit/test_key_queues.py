"""Order per key, for every interleaving of arrivals and departures."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.eventbus.consuming.ordering.key_queues import KeyQueues


def test_the_second_of_a_key_waits_for_the_first():
    queues: KeyQueues[str] = KeyQueues()
    assert queues.enter("a", "a1")
    assert not queues.enter("a", "a2")
    assert queues.enter("b", "b1")
    assert len(queues) == 1
    assert (list(queues.behind("a")), list(queues.behind("b"))) == (["a2"], [])
    assert queues.leave("a") == "a2"
    assert queues.leave("a") is None
    assert queues.enter("a", "a3")


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200))
def test_every_item_goes_once_in_the_order_of_its_key_with_one_under_way(steps: list[tuple[int, bool]]):
    queues: KeyQueues[tuple[int, int]] = KeyQueues()
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
        if (following := queues.leave(key)) is not None:
            go(following)

    for key, arrives in steps:
        if arrives:
            item = (key, arrived[key])
            arrived[key] += 1
            if queues.enter(key, item):
                go(item)
        elif key in under_way:
            leave(key)
    while under_way:
        leave(next(iter(under_way)))
    assert len(queues) == 0
    assert {key: list(range(count)) for key, count in arrived.items()} == dict(went)
