"""Many events published together, of which hooks are shown each, or each in a trace that they want to know of."""

from typing import Any

from mts1b_foundation.event import Event as Payload

from mts1b_platform.eventbus.codec.encoder import EventEncoder
from mts1b_platform.eventbus.events.outgoing import Draft, Outgoing
from mts1b_platform.eventbus.events.trace_share import TraceShare
from mts1b_platform.eventbus.hooks import Hooks, share_of
from mts1b_platform.eventbus.publishing.prepare import draft_of
from mts1b_platform.eventbus.publishing.send_many import SendMany


class WatchedMany:
    """One call of ``emit_many`` as ``hooks`` see it.

    Args:
        hooks: those that are shown each event.
        share: the traces that they want to know of; None for all.
        many: the call.
        encoder: of its subject.
    """

    __slots__ = ("_begun", "_encoder", "_hooks", "_many", "share")

    def __init__(self, hooks: Hooks, share: TraceShare | None, many: SendMany, encoder: EventEncoder[Any]) -> None:
        self._hooks = hooks
        self.share = share
        self._many = many
        self._encoder = encoder
        self._begun: list[tuple[int, Any, Outgoing]] = []

    def wants(self, trace_id: str) -> bool:
        """Whether an event of this trace is to be shown."""
        return self.share is None or self.share.has(trace_id)

    def begin(self, number: int, event: Payload, draft: Draft) -> Draft:
        """Show the event with this place among all, which is about to be sent as ``draft``; how it is sent then."""
        many = self._many
        out = Outgoing.of(many.subject, draft.template.subject, draft, self._encoder.actor(event))
        self._begun.append((number, self._hooks.publishing(many.subject, None, out, None), out))
        return draft_of(many.context, many.subject, out)

    def end(self, failure: BaseException | None) -> None:
        """Say what became of those that were shown: those without an ack ended with ``failure``."""
        acks = self._many.acks
        for number, mark, out in self._begun:
            ack = acks[number] if number < len(acks) else None
            self._hooks.published(mark, out, ack, None if ack is not None else failure)


def watched_many(
    hooks: Hooks | None, trace_id: str | None, many: SendMany, encoder: EventEncoder[Any]
) -> WatchedMany | None:
    """What shows the events to ``hooks``; None when there is nobody, or nobody who wants to know of their trace.

    Args:
        hooks: those that are shown each event.
        trace_id: the trace of all of them; None when each begins one.
        many: the call.
        encoder: of its subject.
    """
    if hooks is None:
        return None
    share = share_of(hooks)
    if share is None or trace_id is None:
        return WatchedMany(hooks, share, many, encoder)
    return WatchedMany(hooks, None, many, encoder) if hooks.concerns(trace_id, None) else None
