"""Callbacks that do not keep their object alive."""

import weakref
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


def weakly(method: Callable[P, object]) -> Callable[P, None]:
    """Call the bound ``method`` as long as its object is referred to elsewhere; do nothing afterwards."""
    reference = weakref.WeakMethod(method)  # pyright: ignore[reportArgumentType] - a bound method is handed in

    def call(*arguments: P.args, **options: P.kwargs) -> None:
        if (found := reference()) is not None:
            found(*arguments, **options)

    return call
