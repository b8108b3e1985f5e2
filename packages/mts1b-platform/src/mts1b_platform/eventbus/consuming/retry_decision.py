"""What becomes of an event whose handler raised: a pure decision, carried out by the settler."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from mts1b_platform.eventbus.consuming.retry import RetryPolicy
from mts1b_platform.eventbus.errors import AlreadyDone, LeaseLost, Reject, Retry, StoreError, StoreMisused

Outcome = Literal["done", "again", "rejected", "exhausted", "store_away"]


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """``delay`` is in seconds and belongs to ``again``; ``failure`` says whether it counts as one of the handler's."""

    outcome: Outcome
    delay: float = 0.0
    failure: bool = False


def decide(error: Exception, tries: int, policy: RetryPolicy) -> RetryDecision:
    """The decision on an event whose handler raised ``error`` at its ``tries``-th try.

    Signals are found wherever a handler raised them, inside the exception group of a task group too: one ``Reject``
    decides; ``Retry`` and ``AlreadyDone`` do when nothing else was raised beside them.
    """
    raised = list(leaves(error))
    if any(isinstance(each, Reject) for each in raised):
        return RetryDecision("rejected")
    if all(isinstance(each, AlreadyDone) for each in raised):
        return RetryDecision("done")
    if all(isinstance(each, Retry | AlreadyDone) for each in raised):
        return RetryDecision("again", max(each.delay for each in raised if isinstance(each, Retry)))
    if any(isinstance(each, StoreError) and not isinstance(each, StoreMisused | LeaseLost) for each in raised):
        return RetryDecision("store_away")
    if policy.exhausted(tries):
        return RetryDecision("exhausted", failure=True)
    return RetryDecision("again", policy.delay(tries), failure=True)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """``error``, or what is in it when it is an exception group, at any depth."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(each)
    else:
        yield error
