"""Which fields an event was given: the same set, whether pydantic or the compiled core has read it."""

import copy
import gc
import pickle
from typing import Any

import pytest
from mts1b_foundation.marketdata import Quote, QuoteV2
from mts1b_foundation.samples import QUOTE
from mts1b_platform.eventbus.codec.payload import decoder, plan_of
from pydantic import BaseModel

DATA = QUOTE.model_copy(update={"bid_size": None}).model_dump_json(exclude={"bid_size", "feed_sequence"}).encode()
GIVEN = Quote.model_validate_json(DATA).model_fields_set
NAME = "__pydantic_fields_set__"


def read() -> Quote:
    return decoder(Quote)(DATA)


def test_it_is_a_set_of_the_events_own():
    first, second = read(), read()
    assert (type(first.model_fields_set), first.model_fields_set) == (set, GIVEN)
    assert first.model_fields_set is first.model_fields_set
    first.model_fields_set.add("bid_size")
    assert first.model_fields_set == GIVEN | {"bid_size"}
    assert second.model_fields_set == read().model_fields_set == GIVEN


@pytest.mark.parametrize("asked", [False, True])
def test_what_pydantic_does_with_an_event_that_was_read(asked: bool):
    event, same = read(), Quote.model_validate_json(DATA)
    if asked:
        assert event.model_fields_set
    assert event == same
    assert event.model_dump(exclude_unset=True) == same.model_dump(exclude_unset=True)
    assert event.model_dump_json(exclude_unset=True) == same.model_dump_json(exclude_unset=True)
    assert event.__getstate__() == same.__getstate__()
    changed = event.model_copy(update={"bid_size": 1.0})
    assert (changed.model_fields_set, event.model_fields_set) == (GIVEN | {"bid_size"}, GIVEN)
    pickled = pickle.loads(pickle.dumps(event))  # noqa: S301 - our own
    for made in (copy.copy(event), copy.deepcopy(event), pickled, Quote.model_validate(event)):
        assert (made, made.model_fields_set) == (event, GIVEN)


def test_an_event_that_was_not_read_has_it_as_ever():
    read()
    assert QUOTE.model_fields_set == set(Quote.model_fields) - {"feed_sequence"}
    assert Quote.model_construct(_fields_set={"ask"}).model_fields_set == {"ask"}
    bare: Any = Quote.__new__(Quote)
    with pytest.raises(AttributeError, match=NAME):
        getattr(bare, NAME)
    with pytest.raises(AttributeError, match=NAME):
        object.__delattr__(bare, NAME)
    object.__setattr__(bare, NAME, {"bid"})
    assert bare.model_fields_set == {"bid"}
    object.__delattr__(bare, NAME)
    with pytest.raises(AttributeError, match=NAME):
        getattr(bare, NAME)


def test_it_is_the_same_set_for_a_collection_that_its_making_begins():
    event, seen = read(), list[set[str]]()

    def ask(phase: str, _: dict[str, int]) -> None:
        if phase == "start" and not seen:
            seen.append(event.model_fields_set)

    before = gc.get_threshold()
    gc.callbacks.append(ask)
    gc.set_threshold(1)
    try:
        found = event.model_fields_set
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(ask)
    assert [found is each for each in seen] == [True] * len(seen)
    assert event.model_fields_set is found


def test_it_is_of_models_only():
    read()
    for call in ("__get__", "__set__"):
        with pytest.raises(TypeError):
            getattr(Quote.__dict__.get(NAME, vars(BaseModel)[NAME]), call)(3, {"bid"})


def test_a_model_beneath_one_that_was_read_is_read_as_well():
    read()

    class Own(QuoteV2):
        venue: str = ""

    event = decoder(Own)(DATA)
    assert (type(event), event.model_fields_set) == (Own, GIVEN)
    assert (plan_of(Own) is None) == (plan_of(Quote) is None)
