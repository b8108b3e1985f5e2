"""The second versions of the subjects whose payloads hold prices, which may be zero or negative there.

Each replaces the first version beside it: a reader of the second reads both. What is said of the first holds here: its
producer, its guarantee, its description; message ids are apart, as both live in one stream.
"""

from typing import Any, TypeVar

from mts1b_foundation.event import Event
from mts1b_foundation.fills import BrokerFillV2, FillV2
from mts1b_foundation.marketdata import BarV2, QuoteV2, SessionClosedV2
from mts1b_foundation.orders import OrderV2
from mts1b_foundation.signals import SignalV2
from mts1b_foundation.subjects.declarations import (
    BROKERS_FILLS_RAW,
    MARKETDATA_BARS,
    MARKETDATA_QUOTES,
    MARKETDATA_SESSIONS_CLOSED,
    OMS_FILLS_CREATED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CANCEL_REQUESTED,
    OMS_ORDERS_CANCELED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    OMS_ORDERS_PARTIALLY_FILLED,
    OMS_ORDERS_REJECTED,
    RESEARCH_SIGNALS_PUBLISHED,
    TREASURY_NAV,
)
from mts1b_foundation.subjects.declarations import SUBJECTS as SUBJECTS_V1
from mts1b_foundation.subjects.subject import DurableSubject, Subject
from mts1b_foundation.treasury import NavSnapshotV2

T = TypeVar("T", bound=Event)


def second_of(first: DurableSubject[Any], payload: type[T]) -> DurableSubject[T]:
    """The second version of a durable subject."""
    return DurableSubject(
        _second(first.pattern),
        producer=first.producer,
        payload=payload,
        tier=first.tier,
        description=first.description,
        dedupe_key=f"v2:{first.dedupe_key}",
        replaces=first,
        correlates=first.names,
    )


def second_live_of(first: Subject[Any], payload: type[T]) -> Subject[T]:
    """The second version of a best-effort subject."""
    return Subject(
        _second(first.pattern),
        producer=first.producer,
        payload=payload,
        tier=first.tier,
        description=first.description,
        replaces=first,
        correlates=first.names,
    )


def _second(pattern: str) -> str:
    return pattern.replace("mts.v1.", "mts.v2.", 1)


OMS_ORDERS_CREATED_V2 = second_of(OMS_ORDERS_CREATED, OrderV2)
OMS_ORDERS_ACCEPTED_V2 = second_of(OMS_ORDERS_ACCEPTED, OrderV2)
OMS_ORDERS_REJECTED_V2 = second_of(OMS_ORDERS_REJECTED, OrderV2)
OMS_ORDERS_PARTIALLY_FILLED_V2 = second_of(OMS_ORDERS_PARTIALLY_FILLED, OrderV2)
OMS_ORDERS_FILLED_V2 = second_of(OMS_ORDERS_FILLED, OrderV2)
OMS_ORDERS_CANCELED_V2 = second_of(OMS_ORDERS_CANCELED, OrderV2)
OMS_ORDERS_CANCEL_REQUESTED_V2 = second_of(OMS_ORDERS_CANCEL_REQUESTED, OrderV2)
OMS_FILLS_CREATED_V2 = second_of(OMS_FILLS_CREATED, FillV2)
BROKERS_FILLS_RAW_V2 = second_of(BROKERS_FILLS_RAW, BrokerFillV2)
MARKETDATA_QUOTES_V2 = second_live_of(MARKETDATA_QUOTES, QuoteV2)
MARKETDATA_BARS_V2 = second_live_of(MARKETDATA_BARS, BarV2)
MARKETDATA_SESSIONS_CLOSED_V2 = second_of(MARKETDATA_SESSIONS_CLOSED, SessionClosedV2)
RESEARCH_SIGNALS_PUBLISHED_V2 = second_of(RESEARCH_SIGNALS_PUBLISHED, SignalV2)
TREASURY_NAV_V2 = second_of(TREASURY_NAV, NavSnapshotV2)

SUBJECTS_V2: tuple[Subject[Any], ...] = (
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_REJECTED_V2,
    OMS_ORDERS_PARTIALLY_FILLED_V2,
    OMS_ORDERS_FILLED_V2,
    OMS_ORDERS_CANCELED_V2,
    OMS_ORDERS_CANCEL_REQUESTED_V2,
    OMS_FILLS_CREATED_V2,
    BROKERS_FILLS_RAW_V2,
    MARKETDATA_QUOTES_V2,
    MARKETDATA_BARS_V2,
    MARKETDATA_SESSIONS_CLOSED_V2,
    RESEARCH_SIGNALS_PUBLISHED_V2,
    TREASURY_NAV_V2,
)
"""All of the above."""

SUBJECTS: tuple[Subject[Any], ...] = (*SUBJECTS_V1, *SUBJECTS_V2)
"""Every subject, in the order of declaration, second versions last."""
