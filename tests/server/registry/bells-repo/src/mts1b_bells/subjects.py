"""What the bells say."""

from mts1b_foundation.event import Event, Identifier, UtcDatetime
from mts1b_foundation.subjects import DurableSubject, Tier
from mts1b_foundation.subjects.contributions import Contribution


class Ring(Event):
    """A bell rang."""

    ring_id: Identifier
    bell: Identifier
    rung_at: UtcDatetime


BELLS_RUNG = DurableSubject(
    "mts.v1.bells.rings.{bell}",
    producer="mts1b-bells",
    payload=Ring,
    tier=Tier.AT_LEAST_ONCE,
    description="A bell rang.",
    dedupe_key="{ring_id}",
)

CONTRIBUTION = Contribution(producers={"mts1b-bells": "bells"}, subjects=[BELLS_RUNG])
