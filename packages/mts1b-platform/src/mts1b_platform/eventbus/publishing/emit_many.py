"""Publishing many events of one subject: pipelined, or in atomic batches."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Final, cast

from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.codec.encoder import EventEncoder
from mts1b_platform.eventbus.codec.payload import plan_of
from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.events.outgoing import Ack, Draft
from mts1b_platform.eventbus.events.trace import handled_trace_id, new_trace_id, new_trace_ids
from mts1b_platform.eventbus.hooks import of_each
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.protocol.headers import NO_LINES
from mts1b_platform.eventbus.publishing.atomic import send_atomic
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.pipelined import send_pipelined
from mts1b_platform.eventbus.publishing.send_many import SendMany
from mts1b_platform.eventbus.publishing.watched_many import WatchedMany, watched_many

Send = Callable[[SendMany, Iterable[Draft]], Awaitable[None]]

# Half the cost of calling the class; the stub is generic in a way that a cast cannot name.
_make_draft: Final = cast("Callable[..., Draft]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


async def emit_many(
    context: PublishContext,
    subject: DurableSubject[T],
    events: list[T],
    *,
    atomic: bool,
    trace_id: str | None,
    window: int,
    deadline: float,
    acks: list[Ack] | None = None,
    each: bool = True,
) -> list[Ack]:
    """See :meth:`EventBus.emit_many`.

    Args:
        context: the bus.
        subject: where.
        events: the payloads.
        atomic: in batches of 1000, each stored whole or not at all.
        trace_id: the trace that all of them join.
        window: most events under way at a time when not atomic.
        deadline: seconds until the publish of one event, or of one atomic batch, gives up.
        acks: takes the acks of what is stored, also when this raises.
        each: whether hooks that are shown each event are shown these.
    """
    encoder, client = context.publisher(subject).encoder, context.client
    templates = _templates(encoder, events)  # first of all, as it refuses what cannot go
    send: Send = send_atomic if atomic else send_pipelined
    many, hooks = SendMany(context, subject, deadline=deadline, window=window), client.hooks
    if acks is not None:
        many.acks = acks
    with ExitStack() as watches:
        for name in {template.subject for template in templates}:
            watches.enter_context(client.denials.watch(name))
        trace, ids = trace_id or handled_trace_id(), context.message_ids(subject)
        watched = watched_many(of_each(hooks), trace, many, encoder) if each else None
        failure: BaseException | None = None
        try:
            await send(many, _drafts(subject, encoder, templates, events, trace, ids, watched))
        except BaseException as error:
            failure = error
            raise
        finally:
            if watched is not None:
                watched.end(failure)
            del failure  # a frame that keeps the error that leaves it is a circle
            if hooks is not None and many.latencies:
                hooks.stored_many(subject, many.latencies)
    return many.acks


def _templates(encoder: EventEncoder[T], events: list[T]) -> list[FrameTemplate]:
    """The template of each of ``events``; raises as :meth:`EventEncoder.template`."""
    if CORE is None:
        return [encoder.template(event) for event in events]
    known, remember = encoder.templates, encoder.remember
    return CORE.find_templates(events, encoder.payload, encoder.key_fields, known, FrameTemplate, remember)


def _drafts(
    subject: DurableSubject[T],
    encoder: EventEncoder[T],
    templates: list[FrameTemplate],
    events: list[T],
    trace: str | None,
    message_id: Callable[[T], str | None],
    watched: WatchedMany | None = None,
) -> Iterator[Draft]:
    """``events``, each with its template, ready for the wire as they are asked for."""
    plan = plan_of(subject.payload)
    if CORE is None or plan is None:
        return _pure_drafts(encoder, templates, events, trace, message_id, watched)
    share = None if watched is None else watched.share
    return CORE.Drafts(
        events=events,
        templates=templates,
        plan=plan,
        draft=Draft,
        key=subject.single_key if message_id == subject.message_id else None,  # an edge has ids of its own
        message_id=message_id,
        trace_id=trace,
        new_trace_ids=new_trace_ids,
        extra=NO_LINES,
        begin=None if watched is None else watched.begin,
        share=None if share is None else share.compiled,
    )


def _pure_drafts(
    encoder: EventEncoder[T],
    templates: Iterable[FrameTemplate],
    events: Iterable[T],
    trace: str | None,
    message_id: Callable[[T], str | None],
    watched: WatchedMany | None = None,
) -> Iterator[Draft]:
    encode = encoder.encode
    for number, (template, event) in enumerate(zip(templates, events, strict=True)):
        trace_id = trace or new_trace_id()
        draft = _make_draft(Draft, (template, encode(event), trace_id, message_id(event), NO_LINES))
        if watched is not None and watched.wants(trace_id):
            draft = watched.begin(number, event, draft)
        yield draft
