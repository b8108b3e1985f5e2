"""Durables of readers with several instances, for a bus on which services may create none."""

from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus.consumers import reads, shares

CONSUMERS = (
    reads("mts1b-treasury", "books", OMS_ORDERS_CREATED, instances="standby", takeover=1),
    *shares("mts1b-treasury", "ledger", OMS_FILLS_CREATED, by="fund_id", keys=["alpha", "beta"], takeover=1),
)
