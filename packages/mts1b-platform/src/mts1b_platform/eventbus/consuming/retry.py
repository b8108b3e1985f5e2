"""When a failed event is tried again, and when it is given up: a pure value."""

import random
from dataclasses import dataclass
from typing import Final

from mts1b_platform.eventbus.errors import InvalidArgument
from mts1b_platform.eventbus.limits import check_count, check_timeout

_STEEPEST: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Delayed redelivery with exponential backoff and jitter, then a dead letter.

    Attributes:
        max_deliveries: how often an event is tried in all; at least 1. A try is counted when a handler is begun, not
            when something is delivered.
        base: seconds before the second try.
        factor: each further delay is this many times longer.
        cap: longest delay in seconds.
        jitter: each delay varies by up to this fraction, so that failures do not come back in step.
    """

    max_deliveries: int = 5
    base: float = 1.0
    factor: float = 2.0
    cap: float = 60.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        check_count("max_deliveries", self.max_deliveries)
        for name in ("base", "cap", "jitter"):
            check_timeout(name, getattr(self, name))
        if self.base < 0 or not 1 <= self.factor <= _STEEPEST or self.cap < self.base or not 0 <= self.jitter < 1:
            raise InvalidArgument(
                f"{self} makes no sense: base >= 0, 1 <= factor <= {_STEEPEST}, cap >= base, 0 <= jitter < 1"
            )

    def exhausted(self, tries: int) -> bool:
        """Whether an event that failed at its ``tries``-th try is given up."""
        return tries >= self.max_deliveries

    def delay(self, tries: int) -> float:
        """Seconds to wait after the ``tries``-th try failed."""
        exponent = min(tries - 1, 64)
        exact = min(self.cap, self.base * self.factor**exponent)
        return exact * (1 + self.jitter * (2 * random.random() - 1))  # noqa: S311 - spreads load, guards nothing
