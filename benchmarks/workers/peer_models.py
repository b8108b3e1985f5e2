"""Our payloads for frameworks that decode JSON themselves."""

from typing import Any

from mts1b_foundation.event import Event
from pydantic import ConfigDict


def lax(model: type[Event]) -> Any:
    """``model`` for the Python values that JSON decodes to, which our strict models refuse."""
    return type("Lax", (model,), {"model_config": ConfigDict(strict=False), "__module__": __name__})
