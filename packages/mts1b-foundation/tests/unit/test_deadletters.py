"""Dead letters: whoever notices that a consumer gave a message up stores the same one."""

from datetime import UTC, datetime
from typing import Any

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason

STORED: dict[str, Any] = {
    "subject": "mts.v1.oms.fills.created.fund.alpha",
    "headers": {"Nats-Msg-Id": "paper:ex-9"},
    "payload": b"{}",
    "stream": "OMS_FILLS",
    "sequence": 17,
    "stored_at": datetime(2026, 1, 1, tzinfo=UTC),
    "consumer": "treasury",
}


def test_two_who_see_the_same_failure_differently_give_it_the_same_id():
    reader = DeadLetter.of_stored(
        **STORED, deliveries=5, reason=DeadLetterReason.MAX_DELIVERIES, error=ValueError("no account 17")
    )
    server = DeadLetter.of_stored(**STORED, deliveries=0, reason=DeadLetterReason.REJECTED, error="terminated")
    assert (
        reader.dead_letter_id
        == server.dead_letter_id
        == DeadLetter.id_for("OMS_FILLS", 17, datetime(2026, 1, 1, tzinfo=UTC), "treasury")
    )
    assert reader.dead_letter_id == "OMS_FILLS:17:treasury:204000", "stored ones keep their id"
    assert server.deliveries == 1


@pytest.mark.parametrize("other", [{"stream": "X"}, {"sequence": 18}, {"consumer": "books"}])
def test_another_failure_has_another_id(other: dict[str, Any]):
    seen: dict[str, Any] = {"deliveries": 1, "reason": DeadLetterReason.REJECTED, "error": "no"}
    one, another = DeadLetter.of_stored(**STORED, **seen), DeadLetter.of_stored(**{**STORED, **other}, **seen)
    assert one.dead_letter_id != another.dead_letter_id


def test_an_exception_leaves_its_text_and_traceback_and_without_text_its_name():
    def letter(error: BaseException | str) -> DeadLetter:
        return DeadLetter.of_stored(**STORED, deliveries=1, reason=DeadLetterReason.REJECTED, error=error)

    try:
        raise ValueError("no account 17")
    except ValueError as error:
        failed = letter(error)
    assert failed.error == "no account 17"
    assert failed.traceback is not None
    assert "test_an_exception_leaves" in failed.traceback
    assert letter(KeyError()).error == "KeyError"
    assert letter("terminated").traceback is None


def test_the_same_sequence_of_a_stream_that_was_made_again_is_another_failure():
    moments = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    first, later = (DeadLetter.id_for("OMS_FILLS", 17, moment, "treasury") for moment in moments)
    assert first != later
