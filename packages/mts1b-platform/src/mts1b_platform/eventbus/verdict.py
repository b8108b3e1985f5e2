"""What becomes of an event whose handler raised: a pure decision, carried out by the consumer."""

from dataclasses import dataclass
from typing import Literal

from mts1b_platform.eventbus.errors import AlreadyDone, Reject, Retry
from mts1b_platform.eventbus.retry import RetryPolicy

Outcome = Literal["done", "again", "rejected", "exhausted"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``delay`` is in seconds and belongs to ``again``; ``failure`` says whether it counts as one of the handler's."""

    outcome: Outcome
    delay: float = 0.0
    failure: bool = False


def judge(error: Exception, deliveries: int, policy: RetryPolicy) -> Verdict:
    """The verdict on an event that was handed out for the ``deliveries``-th time when its handler raised ``error``."""
    if isinstance(error, AlreadyDone):
        return Verdict("done")
    if isinstance(error, Reject):
        return Verdict("rejected")
    if isinstance(error, Retry):
        return Verdict("again", error.delay)
    if policy.exhausted(deliveries):
        return Verdict("exhausted", failure=True)
    return Verdict("again", policy.delay(deliveries), failure=True)
