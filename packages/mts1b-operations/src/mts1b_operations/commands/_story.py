"""A story on a terminal: what is missing first, then the timeline."""

from collections.abc import Iterator

from mts1b_foundation.orders import Order

from mts1b_operations.history.lines import clean, cut, short
from mts1b_operations.history.seen import Seen
from mts1b_operations.story.explain import Missing
from mts1b_operations.story.gather import AROUND
from mts1b_operations.story.readers import Reader, State
from mts1b_operations.story.story import Story

_SUBJECT = 29
_PLACE = 22
_MARKS = {
    State.HANDLED: "ok",
    State.GAVE_UP: "GAVE UP",
    State.UNDER_WAY: "under way",
    State.WAITING: "WAITING",
    State.BEFORE: "-",
}


def lines(story: Story, width: int) -> Iterator[str]:
    """The story, line by line."""
    yield _title(story)
    yield from _state(story)
    for each in story.missing:
        yield ""
        yield from _missing(each)
    yield ""
    yield from _timeline(story, width)
    yield ""
    yield from _searched(story)


def _title(story: Story) -> str:
    order = _order(story)
    name = f"{story.about.kind.removesuffix('_id').replace('idempotency_key', 'intent')} {story.about.value}"
    if order is None:
        return name
    price = f" {order.limit_price}" if order.limit_price is not None else ""
    kind = f"{order.order_type.value}{price} {order.time_in_force.value}"
    return (
        f"{name}\n{order.side.value} {order.quantity} {order.symbol}, fund {order.fund_id}, by {order.actor}, {kind}, "
        f"broker {order.broker}"
    )


def _state(story: Story) -> Iterator[str]:
    order = _order(story)
    if order is not None:
        filled = f", {order.filled_quantity} of {order.quantity} filled" if order.filled_quantity else ""
        why = clean(order.rejected_reason or order.canceled_reason or "")
        yield f"{order.status.value.upper()}{filled}{f': {why}' if why else ''}"
    if not story.missing:
        yield "nothing is missing" if order is None or order.status.is_final else "nothing is owed by anybody: it rests"


def _missing(each: Missing) -> Iterator[str]:
    usually = (
        f"usually {duration(each.usual)}" if each.usual is not None else f"{duration(each.owed.step.within)} at most"
    )
    late = "MISSING" if each.late else "not there yet"
    yield f"{late}: {each.owed.step.words}, for {duration(each.waiting)} ({usually})"
    yield f"  after    {short(each.owed.after.subject)} {each.owed.after.place}"
    lag = f"; its lag is {duration(each.lag)}" if each.lag else ""
    yield f"  owes it  {each.owed.by}: {clean(each.why)}{lag}"
    for number, do in enumerate(each.do):
        yield f"  {'do' if not number else '  '}       {do}"


def _timeline(story: Story, width: int) -> Iterator[str]:
    day, before = "", None
    for seen in story.events:
        date, _, clock = seen.recorded.stamp.partition("T")
        if date != day:
            day = date
            heads = f"{'event'.ljust(_SUBJECT)} {'stored at'.ljust(_PLACE)}"
            yield f"{day} (UTC)    +ms  {heads} what it says; who has handled it"
        after = None if before is None else (seen.recorded.time_ns - before) / 1e6
        before = seen.recorded.time_ns
        mark = "!" if seen.refused else " "
        step = "" if after is None else f"+{after:.1f}" if after < 100_000 else f"+{duration(after / 1e3)}"
        where = f"{clean(short(seen.subject)).ljust(_SUBJECT)} {seen.place.ljust(_PLACE)}"
        head = f"{clock[:12].ljust(12)} {step.rjust(8)} {mark}{where} "
        yield f"{head}{cut(clean(seen.summary), max(20, width - len(head)))}"
        if story.readers is not None and (readers := story.readers.get(seen.place)):
            said = ", ".join(_reader(reader) for reader in readers)
            yield f"{' ' * 23}{said}"


def _reader(reader: Reader) -> str:
    who = reader.service.removeprefix("mts1b-") or reader.durable
    if reader.state is State.WAITING:
        return f"{who} WAITING at {reader.reached:,}"
    return f"{who} {_MARKS[reader.state]}"


def _searched(story: Story) -> Iterator[str]:
    for name, why in story.found.hidden.items():
        yield f"{name} was not looked at: {why}"
    if story.readers is None:
        yield "who has handled what is not known: this identity may not ask the server for its consumers"
    count = f"{len(story.events)} events"
    if story.found.complete and story.found.how == "search":
        yield f"{count}, all that are about it; what shares its trace or signal: within {duration(AROUND)} of it"
    elif story.found.complete:
        yield f"{count}, all that there are (by the index)"
    elif story.found.back_to is not None:
        yield f"{count}; searched back to {story.found.back_to} only: --from and --within search on"
    else:
        yield f"{count}; not everything was searched: --within searches longer"


def _order(story: Story) -> Order | None:
    """The order of the story, as it stands."""
    return next(
        (seen.payload for seen in reversed(story.events) if isinstance(seen.payload, Order) and _is_about(story, seen)),
        None,
    )


def _is_about(story: Story, seen: Seen) -> bool:
    return seen.names.get(story.about.kind) == story.about.value


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
