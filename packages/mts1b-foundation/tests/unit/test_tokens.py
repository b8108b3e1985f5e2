"""Any text becomes one safe subject token, and comes back."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mts1b_foundation.errors import InvalidToken, Mts1bError
from mts1b_foundation.subjects import decode_token, encode_token

SAFE = re.compile(r"[A-Za-z0-9_=-]+")


@settings(max_examples=2500)
@given(st.text(min_size=1))
def test_any_text_round_trips_through_one_safe_token(value: str):
    token = encode_token(value)
    assert SAFE.fullmatch(token)
    assert decode_token(token) == value


@settings(max_examples=1000)
@given(st.text(alphabet=st.sampled_from(list(".*>= \t/%\u00e9A")), min_size=1, max_size=8))
def test_characters_that_mean_something_to_nats_round_trip(value: str):
    assert decode_token(encode_token(value)) == value


@settings(max_examples=1000)
@given(st.text(min_size=1), st.text(min_size=1))
def test_different_values_have_different_tokens(one: str, other: str):
    assert (encode_token(one) == encode_token(other)) == (one == other)


@settings(max_examples=1000)
@given(st.text(alphabet="=0123456789ABCDEFabz_-", min_size=1, max_size=9))
def test_a_token_has_one_spelling_or_is_refused(token: str):
    try:
        value = decode_token(token)
    except InvalidToken:
        return
    assert encode_token(value) == token


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("BRK.B", "BRK=2EB"),
        ("BTC/USD", "BTC=2FUSD"),
        ("*", "=2A"),
        (">", "=3E"),
        ("a=b", "a=3Db"),
        ("é", "=C3=A9"),
        ("EUR_USD-1", "EUR_USD-1"),
    ],
)
def test_a_token_is_written_as_documented(value: str, token: str):
    assert encode_token(value) == token


def test_an_empty_value_is_refused_with_the_remedy():
    with pytest.raises(InvalidToken, match="empty value cannot become a subject token: give it"):
        encode_token("")


def test_text_that_utf8_cannot_write_is_refused():
    with pytest.raises(InvalidToken, match="surrogates"):
        encode_token("\ud800")


@pytest.mark.parametrize("token", ["", "=2", "=2e", "=41", "a.b", "*", "a b", "=FF", "é"])
def test_what_no_value_encodes_to_is_refused(token: str):
    with pytest.raises(InvalidToken):
        decode_token(token)


def test_a_bad_token_is_an_error_of_the_project_and_a_value_error():
    assert issubclass(InvalidToken, Mts1bError)
    assert issubclass(InvalidToken, ValueError)
