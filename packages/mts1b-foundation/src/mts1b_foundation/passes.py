"""Cases in which the validator of a whole payload passes: whoever knows the fields need not run it.

::

    @model_validator(mode="after")
    @passes_when({"status": (Status.OPEN,), "closed_at": (None,)}, {"status": (Status.CLOSED,), "closed_at": PRESENT})
    def _consistent(self) -> Self: ...

The author guarantees that in each of the cases the validator returns the payload as it is and does nothing else. The
compiled core decides most events by them; everything else, and pydantic itself, runs the validator.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

Case = Mapping[str, tuple[object, ...]]
"""By field, the values of which it equals one."""

PRESENT: Final[tuple[object, ...]] = ()
"""Of a field: every value but None."""

_CASES: Final = "_passes_when"

F = TypeVar("F", bound=Callable[..., Any])


def passes_when(*cases: Case) -> Callable[[F], F]:
    """Say of a validator that it passes in each of these ``cases``."""

    def say(validator: F) -> F:
        setattr(validator, _CASES, cases)
        return validator

    return say


def cases_of(validator: Callable[..., Any]) -> tuple[Case, ...]:
    """The cases in which ``validator`` is said to pass; none where nothing is said."""
    return cast("tuple[Case, ...]", getattr(validator, _CASES, ()))
