"""A sample repo: gongs, which believe that they are bells."""

from mts1b_foundation.event import Event, Identifier
from mts1b_foundation.subjects import Subject, Tier
from mts1b_foundation.subjects.contributions import Contribution


class Strike(Event):
    """A gong was struck."""

    gong: Identifier


GONGS_STRUCK = Subject(
    "mts.v1.bells.gongs.struck",
    producer="mts1b-gongs",
    payload=Strike,
    tier=Tier.BEST_EFFORT,
    description="A gong was struck.",
)

CONTRIBUTION = Contribution(producers={"mts1b-gongs": "mts.*.bells.gongs.>"}, subjects=[GONGS_STRUCK])
