"""Which instance reads which keys: everybody who sees the same members says the same, and few keys move."""

from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.eventbus.consuming.instances.sharing import shares

NAMES = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=12)


@given(NAMES, NAMES)
def test_each_key_goes_to_one_member_and_nobody_has_more_than_his_share(keys: set[str], members: set[str]):
    found = shares(keys, members)
    assert found.keys() == keys
    assert set(found.values()) <= members
    most = -(-len(keys) // len(members))
    assert all(list(found.values()).count(member) <= most for member in members)
    assert shares(sorted(keys, reverse=True), sorted(members)) == found, "in whatever order they are known"


def test_without_members_nobody_has_anything():
    assert shares(["a"], []) == {}


def test_who_joins_moves_few_keys_but_his_own():
    moved = 0
    for round_ in range(100):
        keys = [f"key-{round_}-{number}" for number in range(16)]
        members = [f"member-{number}" for number in range(1 + round_ % 4)]
        before, after = shares(keys, members), shares(keys, [*members, "new"])
        moved += sum(before[key] != after[key] != "new" for key in keys)
    assert moved < 100 * 1.5, "one of sixteen each time, about"
