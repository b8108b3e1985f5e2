"""What may watch the bus: a small protocol, called at a few points, nothing at all when nobody watches.

The bus counts by itself, in plain integers (``counters.py``); hooks are for what integers cannot say: how long things
take, which event caused which, what was stored when. ``mts1b_platform.observability`` implements them; the bus knows
no more of it than this file.

Hooks run on the event loop, synchronously: they must be quick and must not raise. One that raises is a bug of the
hook, and surfaces in the call that it watched.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Subject

from mts1b_platform.eventbus.events.event import Event, LiveEvent
from mts1b_platform.eventbus.events.outgoing import Ack, Outgoing


class Hooks(Protocol):
    """One watcher. What a method returns is handed back to its counterpart, and means nothing to the bus."""

    best_effort: bool
    """Whether best-effort events are watched too; without it they cost nothing."""
    handlers: bool
    """Whether it is told when a handler's block begins and ends."""
    one_by_one: bool
    """Whether it is shown each of many events that are published together; without it :meth:`stored_many` says all."""

    def publishing(
        self, subject: Subject[Any], event: Payload | None, out: Outgoing, cause: LiveEvent[Any] | None, /
    ) -> Any:
        """``out`` is about to be sent; headers may be added to it. ``event`` is None for a raw publish."""
        ...

    def published(self, mark: Any, out: Outgoing, ack: Ack | None, error: BaseException | None, /) -> None:
        """It was stored (``ack``), handed to the connection (neither), or failed (``error``)."""
        ...

    def stored_many(self, subject: Subject[Any], latencies: Sequence[tuple[float, int]], /) -> None:
        """Events that were published together are stored: seconds from sending to ack, and of how many."""
        ...

    def loaded(self, subject: Subject[Any], trace_id: str, stored: int, error: BaseException | None, /) -> None:
        """A bulk load ended with ``stored`` events stored, or with ``error``; its events are not told one by one."""
        ...

    def entered(self, event: LiveEvent[Any], /) -> Any:
        """A handler's ``async with event`` begins; only for :attr:`handlers`."""
        ...

    def left(self, mark: Any, event: LiveEvent[Any], error: BaseException | None, /) -> None:
        """The handler's block ended, with ``error`` when it raised; only for :attr:`handlers`."""
        ...

    def settled(self, event: Event[Any], /) -> None:
        """The consumer has decided on ``event``: acknowledged, to come again, or given up.

        ``event.received_at`` says when it was handed out.
        """
        ...

    def closed(self) -> None:
        """The bus is closed for good."""
        ...


class Chain:
    """Several hooks as one, called in their order."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self.hooks = tuple(hooks)
        self.best_effort = any(hook.best_effort for hook in hooks)
        self.handlers = any(hook.handlers for hook in hooks)
        self.one_by_one = any(hook.one_by_one for hook in hooks)

    def publishing(
        self, subject: Subject[Any], event: Payload | None, out: Outgoing, cause: LiveEvent[Any] | None
    ) -> list[Any]:
        """See :class:`Hooks`."""
        return [hook.publishing(subject, event, out, cause) for hook in self.hooks]

    def published(self, mark: list[Any], out: Outgoing, ack: Ack | None, error: BaseException | None) -> None:
        """See :class:`Hooks`."""
        for hook, own in zip(self.hooks, mark, strict=True):
            hook.published(own, out, ack, error)

    def stored_many(self, subject: Subject[Any], latencies: Sequence[tuple[float, int]]) -> None:
        """See :class:`Hooks`."""
        for hook in self.hooks:
            hook.stored_many(subject, latencies)

    def loaded(self, subject: Subject[Any], trace_id: str, stored: int, error: BaseException | None) -> None:
        """See :class:`Hooks`."""
        for hook in self.hooks:
            hook.loaded(subject, trace_id, stored, error)

    def entered(self, event: LiveEvent[Any]) -> list[Any]:
        """See :class:`Hooks`."""
        return [hook.entered(event) for hook in self.hooks]

    def left(self, mark: list[Any], event: LiveEvent[Any], error: BaseException | None) -> None:
        """See :class:`Hooks`."""
        for hook, own in zip(reversed(self.hooks), reversed(mark), strict=True):
            hook.left(own, event, error)

    def settled(self, event: Event[Any]) -> None:
        """See :class:`Hooks`."""
        for hook in self.hooks:
            hook.settled(event)

    def closed(self) -> None:
        """See :class:`Hooks`."""
        for hook in self.hooks:
            hook.closed()


def of_handlers(hooks: Hooks | None) -> Hooks | None:
    """``hooks`` when one of them is told of handlers."""
    return hooks if hooks is not None and hooks.handlers else None


def of_each(hooks: Hooks | None) -> Hooks | None:
    """Those of ``hooks`` that are shown each of many events; None when there are none."""
    if hooks is None or not hooks.one_by_one:
        return None
    return Chain([hook for hook in hooks.hooks if hook.one_by_one]) if isinstance(hooks, Chain) else hooks


def joined(first: Hooks | None, second: Hooks) -> Hooks:
    """``second`` after ``first``."""
    if first is None:
        return second
    return Chain([*(first.hooks if isinstance(first, Chain) else (first,)), second])
