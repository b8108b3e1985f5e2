"""What may watch the bus: a small protocol, called at a few points, nothing at all when nobody watches.

The bus counts by itself, in plain integers (``counters.py``); hooks are for what integers cannot say: how long things
take, which event caused which, what was stored when. ``mts1b_platform.observability`` implements them; the bus knows
no more of it than this file.

Hooks run on the event loop, synchronously: they must be quick and must not raise. One that raises is a bug of the
hook, and surfaces in the call that it watched.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Subject

from mts1b_platform.eventbus.events.event import Event, LiveEvent
from mts1b_platform.eventbus.events.outgoing import Ack, Outgoing
from mts1b_platform.eventbus.events.trace import handled_trace_id, new_trace_id
from mts1b_platform.eventbus.events.trace_share import TraceShare
from mts1b_platform.handling import handled


class Hooks(Protocol):
    """One watcher. What a method returns is handed back to its counterpart, and means nothing to the bus."""

    best_effort: bool
    """Whether best-effort events are watched too; without it they cost nothing."""
    handlers: bool
    """Whether it is told when a handler's block begins and ends."""
    one_by_one: bool
    """Whether it is shown each of many events that are published together; without it :meth:`stored_many` says all."""
    decisions: bool = True
    """Whether it is told what a consumer has decided on."""
    share: TraceShare | None = None
    """The traces that it wants to know of; None for all.

    It may be told of others, and leaves them alone. A trace that is in no share and named by nothing else costs an
    event next to nothing: that is decided in the compiled core, and nothing of the hook is called.
    """

    def concerns(self, _trace_id: str, _cause: LiveEvent[Any] | None, /) -> bool:
        """Whether it wants to know of what is published now in this trace, which began before; only with a share."""
        return True

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

    share: TraceShare | None = None
    """Each knows its own."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self.hooks = tuple(hooks)
        self.best_effort = any(hook.best_effort for hook in hooks)
        self.handlers = any(hook.handlers for hook in hooks)
        self.one_by_one = any(hook.one_by_one for hook in hooks)
        self.decisions = any(map(_decides, hooks))

    def concerns(self, trace_id: str, cause: LiveEvent[Any] | None) -> bool:
        """See :class:`Hooks`."""
        return any(hook.concerns(trace_id, cause) for hook in self.hooks)

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
        for hook in self.deciding:
            hook.settled(event)

    def closed(self) -> None:
        """See :class:`Hooks`."""
        for hook in self.hooks:
            hook.closed()

    @cached_property
    def of_best_effort(self) -> Hooks | None:
        """Those that watch best-effort events."""
        return _joined([hook for hook in self.hooks if hook.best_effort])

    @cached_property
    def of_handlers(self) -> Hooks | None:
        """Those that are told of handlers."""
        return _joined([hook for hook in self.hooks if hook.handlers])

    @cached_property
    def of_each(self) -> Hooks | None:
        """Those that are shown each of many events."""
        return _joined([hook for hook in self.hooks if hook.one_by_one])

    @cached_property
    def deciding(self) -> tuple[Hooks, ...]:
        """Those that are told of decisions."""
        return tuple(filter(_decides, self.hooks))


def of_best_effort(hooks: Hooks | None) -> Hooks | None:
    """Those of ``hooks`` that watch best-effort events; None when there are none."""
    if isinstance(hooks, Chain):
        return hooks.of_best_effort
    return hooks if hooks is not None and hooks.best_effort else None


def of_handlers(hooks: Hooks | None) -> Hooks | None:
    """Those of ``hooks`` that are told of handlers; None when there are none."""
    if isinstance(hooks, Chain):
        return hooks.of_handlers
    return hooks if hooks is not None and hooks.handlers else None


def of_best_effort_handlers(hooks: Hooks | None) -> Hooks | None:
    """Those of ``hooks`` that are told of handlers of best-effort events; None when there are none."""
    return of_best_effort(of_handlers(hooks))


def of_each(hooks: Hooks | None) -> Hooks | None:
    """Those of ``hooks`` that are shown each of many events; None when there are none."""
    if isinstance(hooks, Chain):
        return hooks.of_each
    return hooks if hooks is not None and hooks.one_by_one else None


def deciding(hooks: Hooks) -> tuple[Hooks, ...]:
    """Those of ``hooks`` that are told of decisions."""
    if isinstance(hooks, Chain):
        return hooks.deciding
    return (hooks,) if _decides(hooks) else ()


def share_of(hooks: Hooks) -> TraceShare | None:
    """The traces that ``hooks`` want to know of; None for all, as of hooks that do not say."""
    return getattr(hooks, "share", None)


class ToldOfOne:
    """Of ``hooks`` those that are told of a best-effort publish; looked up once, as it is asked for each event."""

    __slots__ = ("hooks", "share", "told")

    def __init__(self, hooks: Hooks | None) -> None:
        self.hooks = hooks
        self.told = of_best_effort(hooks)
        self.share = None if self.told is None else share_of(self.told)
        """The traces that they want to know of; None for all."""

    def of_trace(self, trace_id: str | None, cause: LiveEvent[Any] | None) -> tuple[Hooks | None, str | None]:
        """Those that are told of an event that is about to be published, and its trace.

        The trace is still None where nobody had to know it.

        Args:
            trace_id: the trace, when it is known.
            cause: what caused the event, when that was said.
        """
        told, share = self.told, self.share
        if told is None or share is None:
            return told, trace_id
        # a trace that begins here is named by nothing else: its share is all there is to ask
        if known := trace_id or (handled_trace_id() if handled.get() is not None else None):
            return (told if told.concerns(known, cause) else None), known
        fresh = new_trace_id()
        return (told if share.has(fresh) else None), fresh


def joined(first: Hooks | None, second: Hooks) -> Hooks:
    """``second`` after ``first``."""
    if first is None:
        return second
    return Chain([*(first.hooks if isinstance(first, Chain) else (first,)), second])


def _decides(hook: Hooks) -> bool:
    return getattr(hook, "decisions", True)


def _joined(hooks: Sequence[Hooks]) -> Hooks | None:
    return Chain(hooks) if len(hooks) > 1 else hooks[0] if hooks else None
