"""The durable of the specification's example, for a bus on which services may create none."""

from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus.consumers import reads

CONSUMERS = (reads("mts1b-treasury", "my-consumer", OMS_ORDERS_FILLED),)
