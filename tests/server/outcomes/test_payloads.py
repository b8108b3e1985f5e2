"""A payload is what pydantic says: the bytes that leave are its own, and what no reader could read is refused."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import DurableSubject, Tier
from outcome_world import World
from pydantic import ConfigDict, Field, SecretStr, WrapSerializer, computed_field

PATTERN = "mts.v1.oms.rings.rung"


class Excluded(Payload):
    ring_id: str
    api_key: str = Field("", exclude=True)


class ExcludedIf(Payload):
    ring_id: str
    note: str = Field("", exclude_if=lambda value: value == "secret")


class Aliased(Payload):
    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)

    ring_id: str = Field(alias="ringId")


class Extra(Payload):
    model_config = ConfigDict(extra="allow")

    ring_id: str


class Infinite(Payload):
    model_config = ConfigDict(allow_inf_nan=True, strict=False, ser_json_inf_nan="strings")

    ring_id: str
    height: float


class Temporal(Payload):
    model_config = ConfigDict(strict=False, ser_json_temporal="seconds")

    ring_id: str
    rung_at: datetime


class Initialised(Payload):
    ring_id: str

    def model_post_init(self, _: Any, /) -> None:
        vars(self)["cached"] = "not a field"


MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SENT: list[Callable[[], Payload]] = [
    lambda: Excluded(ring_id="1", api_key="secret"),
    lambda: ExcludedIf(ring_id="1", note="secret"),
    lambda: Aliased(ringId="1"),
    lambda: Extra.model_validate({"ring_id": "1", "more": "2"}),
    lambda: Infinite(ring_id="1", height=math.inf),
    lambda: Temporal(ring_id="1", rung_at=MOMENT),
    lambda: Initialised(ring_id="1"),
]


@pytest.mark.parametrize("make", SENT, ids=[type(make()).__name__ for make in SENT])
async def test_the_bytes_that_leave_are_pydantics(make: Callable[[], Payload], world: World):
    event = make()
    subject = DurableSubject(
        PATTERN,
        producer="mts1b-oms",
        payload=type(event),
        tier=Tier.AT_LEAST_ONCE,
        description="A ring.",
        dedupe_key="{ring_id}",
    )
    await world.js.add_stream(name="RINGS", subjects=["mts.v1.oms.rings.*"])
    await world.bus.emit(subject, event)
    assert (await world.js.get_msg("RINGS", 1)).data == event.model_dump_json().encode()


class Kind(Enum):
    """Bytes as a broker spells them."""

    LARGE = b"L"


class OfBytes(Payload):
    ring_id: str
    kind: Kind


class ReadByAlias(Payload):
    ring_id: str = Field(validation_alias="ringId")


class Computed(Payload):
    ring_id: str

    @computed_field
    @property
    def loud(self) -> bool:
        return True


class TupleKeys(Payload):
    ring_id: str
    by_place: dict[tuple[int, int], str]


class Wrapped(Payload):
    ring_id: str
    height: Annotated[int, WrapSerializer(lambda value, _: {"metres": value}, when_used="json")]


class Secret(Payload):
    ring_id: str
    key: SecretStr


class Anything(Payload):
    ring_id: str
    value: Any


class OneOrTheOther(Payload):
    ring_id: str
    value: str | Decimal


class WithFunction(Payload):
    ring_id: str
    how: Callable[[], None]


@pytest.mark.parametrize(
    "payload", [OfBytes, ReadByAlias, Computed, TupleKeys, Wrapped, Secret, Anything, OneOrTheOther, WithFunction]
)
def test_a_payload_that_no_reader_could_read_is_refused_when_its_subject_is_declared(payload: type[Payload]):
    with pytest.raises(Mts1bError):
        DurableSubject(
            PATTERN,
            producer="mts1b-oms",
            payload=payload,
            tier=Tier.AT_LEAST_ONCE,
            description="A ring.",
            dedupe_key="{ring_id}",
        )
