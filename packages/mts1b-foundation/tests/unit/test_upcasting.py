"""Events of older versions are read by chains of upcasters."""

from typing import ClassVar

import pytest
from mts1b_foundation.errors import InvalidSubject, SchemaMismatch
from mts1b_foundation.event import Event
from mts1b_foundation.upcasting import Upcaster, Upcasters, upcaster
from pydantic import ValidationError


class PingV1(Event):
    text: str

    @classmethod
    def schema_name(cls) -> str:
        return "example.Ping"


class PingV2(Event):
    schema_version: ClassVar[int] = 2
    text: str
    loud: bool

    @classmethod
    def schema_name(cls) -> str:
        return "example.Ping"


class Ping(Event):
    schema_version: ClassVar[int] = 3
    words: tuple[str, ...]
    loud: bool

    @classmethod
    def schema_name(cls) -> str:
        return "example.Ping"


@upcaster
def to_v2(old: PingV1) -> PingV2:
    return PingV2(text=old.text, loud=old.text.endswith("!"))


@upcaster
def to_v3(old: PingV2) -> Ping:
    return Ping(words=tuple(old.text.split()), loud=old.loud)


CHAIN = Upcasters([to_v3, to_v2])


def test_an_event_of_the_wanted_version_is_read_as_it_is():
    ping = Ping(words=("a",), loud=False)
    assert CHAIN.decode("example.Ping:v3", ping.model_dump_json(), Ping) == ping


def test_an_old_event_is_brought_up_through_every_version():
    data = PingV1(text="hear hear!").model_dump_json()
    assert CHAIN.decode("example.Ping:v1", data, Ping) == Ping(words=("hear", "hear!"), loud=True)
    assert CHAIN.decode("example.Ping:v1", data, PingV2) == PingV2(text="hear hear!", loud=True)
    assert CHAIN.decode("example.Ping:v1", data, PingV1) == PingV1(text="hear hear!")


def test_an_event_is_never_brought_down():
    with pytest.raises(SchemaMismatch, match=r"'example.Ping:v2' cannot be read as 'example.Ping:v1'"):
        CHAIN.decode("example.Ping:v2", PingV2(text="a", loud=True).model_dump_json(), PingV1)


def test_a_schema_that_nobody_knows_is_refused():
    with pytest.raises(SchemaMismatch, match="no upcaster leads there"):
        CHAIN.decode("example.Pong:v1", "{}", Ping)


def test_an_old_event_is_validated_as_what_it_says_it_is():
    with pytest.raises(ValidationError, match="PingV1"):
        CHAIN.decode("example.Ping:v1", '{"text": "a", "loud": true}', Ping)


def test_which_schemas_a_reader_takes_can_be_asked():
    assert CHAIN.reads("example.Ping:v1", Ping)
    assert CHAIN.reads("example.Ping:v3", Ping)
    assert not CHAIN.reads("example.Ping:v3", PingV2)


def test_two_upcasters_from_one_version_are_refused():
    with pytest.raises(InvalidSubject, match=r"two upcasters read example.Ping:v1"):
        Upcasters([to_v2, Upcaster(PingV1, Ping, lambda old: Ping(words=(old.text,), loud=False))])


def test_upcasters_in_a_circle_are_refused():
    with pytest.raises(InvalidSubject, match="in a circle"):
        Upcasters([to_v2, Upcaster(PingV2, PingV1, lambda old: PingV1(text=old.text))])


def test_an_upcaster_says_from_what_to_what():
    def lost(old: PingV1) -> str:
        return old.text

    with pytest.raises(InvalidSubject, match=r"upcaster lost: annotate it"):
        upcaster(lost)  # pyright: ignore[reportArgumentType]


def test_an_upcaster_that_returns_something_else_is_caught():
    wrong = Upcaster(PingV1, PingV2, lambda old: old)  # pyright: ignore[reportArgumentType,reportUnknownLambdaType]
    with pytest.raises(SchemaMismatch, match="returned a PingV1"):
        Upcasters([wrong]).decode("example.Ping:v1", '{"text": "a"}', PingV2)
