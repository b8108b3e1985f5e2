"""What the adapter claims, which mts1b-brokers has granted to it, and the orders that it reads."""

from mts1b_foundation.subjects import BROKERS_FILLS_RAW, OMS_ORDERS_ACCEPTED
from mts1b_foundation.subjects.contributions import Contribution
from mts1b_platform.eventbus.consumers import reads

CONTRIBUTION = Contribution(producers={"mts1b-broker-ib": "mts.*.brokers.ib.>"})
CONSUMERS = (
    reads("mts1b-broker-ib", "broker-ib", OMS_ORDERS_ACCEPTED),
    reads("mts1b-oms", "oms-fills", BROKERS_FILLS_RAW),  # what the repo of mts1b-oms would declare
)
