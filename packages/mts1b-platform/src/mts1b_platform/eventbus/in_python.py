"""Which hooks are called in Python for each event, so that the compiled core does not take all of it.

One that says in whose traces it is interested is called for these alone, and does not count here. Every hook is called
for a publish that waits for its own ack: there it is the server's time that counts.
"""

from collections.abc import Callable
from typing import Final

from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.hooks import Chain, Hooks, deciding, of_best_effort, of_each, of_handlers, share_of

_STEPS: Final[dict[str, Callable[[Hooks], Hooks | None]]] = {
    "best-effort publishes": of_best_effort,
    "publishes of many": of_each,
    "handlers": of_handlers,
}


def called_in_python(hooks: Hooks | None) -> list[str]:
    """Each step of an event at which some of ``hooks`` are called in Python, with their names; none without a core."""
    if hooks is None or CORE is None:
        return []
    found: list[str] = []
    for step, told_of in _STEPS.items():
        told = told_of(hooks)
        if told is not None and share_of(told) is None:
            found.append(_said(step, told.hooks if isinstance(told, Chain) else (told,)))
    if decided := [hook for hook in deciding(hooks) if type(hook.settled) is not CORE.Timer]:
        found.append(_said("decisions", decided))
    return found


def _said(step: str, hooks: "tuple[Hooks, ...] | list[Hooks]") -> str:
    return f"{step}: {', '.join(type(hook).__name__ for hook in hooks)}"
