"""What people read about the fields of a payload."""

from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import registry
from mts1b_foundation.views.words import fields_in_words, in_words


def test_an_order_in_words():
    words = fields_in_words(Order)
    assert words["order_id"] == "text, 1 to 200 characters"
    assert words["side"] == "buy | sell"
    assert words["order_type"] == "market | limit; default market"
    assert words["quantity"] == "decimal > 0, at most 38 digits"
    assert words["filled_quantity"] == "decimal >= 0, at most 60 digits; default 0"
    assert words["signal_id"] == "text, 1 to 200 characters, or null; default null"
    assert words["created_at"] == "UTC timestamp"


def test_every_field_of_every_payload_has_words_without_python_in_them():
    for subject in registry():
        words = fields_in_words(subject.payload)
        assert set(words) == set(subject.payload.model_fields), subject
        assert not any(text in each for each in words.values() for text in ("[", "(", "'", "None", "object at")), words


def test_nested_and_listed_values_are_named():
    leg = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert in_words({"type": "array", "items": {"$ref": "#/$defs/Leg"}}, {"Leg": leg}) == "list of Leg"
    assert in_words({"type": "object", "additionalProperties": {"type": "number"}}, {}) == "map of text to number"
    assert in_words({"type": "string", "contentEncoding": "base64", "maxLength": 8}, {}) == (
        "bytes in base64, at most 8 characters"
    )
    assert in_words({}, {}) == "any value"
