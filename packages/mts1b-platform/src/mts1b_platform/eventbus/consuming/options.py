"""The options of readers, named one by one: a misspelt one is an error for a type checker, and not a parameter."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypedDict

from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.consumers import Deliver, Instances
from mts1b_platform.eventbus.consuming.retry import RetryPolicy


class Parameters(TypedDict, total=False):
    """What subjects of the registry are told apart by: read one fund or key only.

    For the parameters of a subject of your own there is ``where={"venue": "X"}``.
    """

    broker: str | None
    fund_id: str | None
    interval: str | None
    kind: str | None
    symbol: str | None


class ConsumeOptions(Parameters, Generic[T], total=False):
    """The options of ``bus.consume`` for those who hand them on."""

    policy: RetryPolicy
    deliver: Deliver
    prefetch: int
    ack_wait: float | None
    inactive_threshold: float | None
    ordered_by: str | Callable[[T], Hashable] | None
    instances: Instances
    takeover: float | None
    keys: Iterable[str] | None
    where: Mapping[str, str | None] | None
