"""Finding events as a person: pointers from the responder's index, the events over the person's own connection."""

from collections.abc import Collection, Mapping

from mts1b_platform.eventbus import AccessDenied, EventBus
from mts1b_platform.eventbus.history.history import History

from mts1b_operations.index.feed import confirmed
from mts1b_operations.index.find import Pointers
from mts1b_operations.index.store import Mark
from mts1b_operations.lag import ConsumerLag
from mts1b_operations.people.asked import Declined
from mts1b_operations.people.asking import Unanswered, look
from mts1b_operations.people.views import lags
from mts1b_operations.story.names import Name
from mts1b_operations.story.story import own_consumers


async def looked_up(bus: EventBus, names: Collection[Name], histories: Mapping[str, History]) -> Pointers:
    """Where events with some names lie.

    Raises:
        AccessDenied: the role may not look.
        Declined, Unanswered: there is no index, or nobody answers.
    """
    places: set[tuple[str, int]] = set()
    marks: dict[str, Mark] = {}
    for kind in sorted({name.kind for name in names}):
        values = sorted(name.value for name in names if name.kind == kind)
        found = await look(bus, "find", kind=kind, values=values)
        places |= {(str(stream), int(seq)) for stream, seq in found["places"]}
        marks = {name: Mark(int(each["position"]), str(each["stamp"])) for name, each in found["marks"].items()}
    return Pointers(places, await confirmed(histories, marks))


async def may_look_up(bus: EventBus) -> bool:
    """Whether a person may, and somebody answers from an index."""
    try:
        await look(bus, "find", kind="order_id", values=[])
    except (AccessDenied, Declined, Unanswered):
        return False
    return True


async def consumers_for_anybody(bus: EventBus, streams: set[str]) -> list[ConsumerLag] | None:
    """The consumers of some streams: a person looks them up; None when the role may not, or nobody answers."""
    if not bus.identity.has_token:
        return await own_consumers(bus, streams)
    try:
        return [lag for lag in await lags(bus) if lag.stream in streams]
    except (AccessDenied, Declined, Unanswered):
        return None
