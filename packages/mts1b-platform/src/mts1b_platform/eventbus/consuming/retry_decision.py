"""What becomes of an event whose handler raised: a pure decision, carried out by the consumer."""

from dataclasses import dataclass
from typing import Literal

from mts1b_platform.eventbus.consuming.retry import RetryPolicy
from mts1b_platform.eventbus.errors import AlreadyDone, LeaseLost, Reject, Retry, StoreError, StoreMisused

Outcome = Literal["done", "again", "rejected", "exhausted", "store_away"]


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """``delay`` is in seconds and belongs to ``again``; ``failure`` says whether it counts as one of the handler's."""

    outcome: Outcome
    delay: float = 0.0
    failure: bool = False


def decide(error: Exception, deliveries: int, policy: RetryPolicy) -> RetryDecision:
    """The decision on an event that was handed out for the ``deliveries``-th time when its handler raised ``error``."""
    if isinstance(error, AlreadyDone):
        return RetryDecision("done")
    if isinstance(error, Reject):
        return RetryDecision("rejected")
    if isinstance(error, Retry):
        return RetryDecision("again", error.delay)
    if isinstance(error, StoreError) and not isinstance(error, (StoreMisused, LeaseLost)):
        return RetryDecision("store_away")
    if policy.exhausted(deliveries):
        return RetryDecision("exhausted", failure=True)
    return RetryDecision("again", policy.delay(deliveries), failure=True)
