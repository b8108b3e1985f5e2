"""The algebra of patterns against brute force over every short subject."""

import re
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mts1b_foundation.subjects.algebra import contains, covers, is_pattern, matches, overlaps

WRITTEN = ["a", "b"]
EVERY_SUBJECT = [".".join(tokens) for size in range(1, 7) for tokens in product([*WRITTEN, "z"], repeat=size)]
"""All subjects of up to six tokens over the letters that patterns use, and one that they never use."""


@st.composite
def patterns(draw: st.DrawFn) -> str:
    tokens = draw(st.lists(st.sampled_from([*WRITTEN, "*"]), min_size=0, max_size=4))
    if not tokens or draw(st.booleans()):
        tokens = [*tokens, ">"]
    return ".".join(tokens)


@cache
def matched(pattern: str) -> frozenset[str]:
    """What ``pattern`` matches, by a regular expression that knows nothing of the algebra."""
    expression = re.escape(pattern).replace(r"\*", "[^.]+")
    expression = re.sub(r">$", ".+", expression)
    return frozenset(filter(re.compile(expression).fullmatch, EVERY_SUBJECT))


@settings(max_examples=100, deadline=None)
@given(patterns())
def test_matches_agrees_with_brute_force(pattern: str):
    assert {subject for subject in EVERY_SUBJECT if matches(pattern, subject)} == matched(pattern)


@settings(max_examples=300, deadline=None)
@given(patterns(), patterns())
def test_overlap_agrees_with_brute_force(one: str, other: str):
    assert overlaps(one, other) == bool(matched(one) & matched(other))
    assert overlaps(one, other) == overlaps(other, one)


@settings(max_examples=300, deadline=None)
@given(patterns(), patterns())
def test_containment_agrees_with_brute_force(outer: str, inner: str):
    assert contains(outer, inner) == (matched(inner) <= matched(outer))


@settings(max_examples=300, deadline=None)
@given(st.lists(patterns(), max_size=4), patterns())
def test_cover_by_several_patterns_agrees_with_brute_force(outers: list[str], inner: str):
    union: set[str] = set()
    for outer in outers:
        union |= matched(outer)
    assert covers(outers, inner) == (matched(inner) <= union)


def test_every_pair_of_short_patterns_agrees_with_brute_force():
    stems = [list(tokens) for size in range(4) for tokens in product(["a", "b", "*"], repeat=size)]
    every = [".".join(tokens) for stem in stems for tokens in (stem, [*stem, ">"]) if tokens]
    assert len(every) == 79
    for one, other in product(every, every):
        assert overlaps(one, other) == bool(matched(one) & matched(other)), (one, other)
        assert contains(one, other) == (matched(other) <= matched(one)), (one, other)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("*.b.c", "a.*.c", True),
        ("a.*.c", "a.b.*", True),
        ("a.b.*", "a.b", False),
        (">", "*", True),
        ("a.>", "a", False),
        ("*.>", "a", False),
        ("a.*.>", "a.b", False),
        ("a.>", "*.b.c", True),
        ("mts.v1.oms.orders.*", "mts.v1.oms.orders.created.fund.*", False),
        ("mts.v1.*.deadletters.created", "mts.v1.oms.>", True),
    ],
)
def test_wildcards_at_every_place(one: str, other: str, overlap: bool):
    assert overlaps(one, other) is overlap


def test_one_or_more_tokens_are_one_token_or_more_than_one():
    assert covers(["a.*", "a.*.>"], "a.>")
    assert not covers(["a.*", "a.*.*.>"], "a.>")
    assert not covers([], "a.>")


@pytest.mark.parametrize("text", ["a", "*", ">", "a.*.>", "*.a", "a.=2A", "mts.*.oms.>"])
def test_a_legal_pattern_is_recognised(text: str):
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a*", "a.*b", "a.>>", "a b", "a\t", "**"]
)
def test_an_illegal_pattern_is_refused(text: str):
    assert not is_pattern(text)
