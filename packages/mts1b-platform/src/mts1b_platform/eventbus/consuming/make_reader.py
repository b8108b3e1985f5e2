"""Which reader a call of ``bus.consume`` asks for: alone or one of several, in an order or as events come."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.algebra import covers
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.arguments import check_consume, check_group
from mts1b_platform.eventbus.consumers import (
    DEFAULT_TAKEOVER,
    ConsumerDefinition,
    Instances,
    check_keys,
    check_reader,
    durable_of,
    group_subject,
    key_parameter,
)
from mts1b_platform.eventbus.consuming.consumer import Consumer
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.instances.members import Members
from mts1b_platform.eventbus.consuming.instances.shared import SharedConsumer
from mts1b_platform.eventbus.consuming.instances.standby import StandbyConsumer
from mts1b_platform.eventbus.consuming.ordering.key_order import Key
from mts1b_platform.eventbus.consuming.ordering.ordered import OrderedConsumer
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.errors import InvalidArgument
from mts1b_platform.eventbus.jetstream.durables import stream_of


def make_reader(
    context: ConsumeContext,
    subjects: Sequence[DurableSubject[T]],
    durable: str,
    *,
    parameters: dict[str, str | None],
    ordered_by: Key | None,
    instances: Instances,
    takeover: float | None,
    keys: Iterable[str] | None,
    member: str | None,
    options: Mapping[str, Any],
) -> Consumer[T] | SharedConsumer[T]:
    """The reader that is asked for; it has not started.

    Raises:
        InvalidArgument: there is no such reader.
    """
    check_reader(ordered_by=ordered_by, instances=instances, takeover=takeover, keys=keys, member=member)
    if ordered_by is None:
        return Consumer[T](context, subjects, durable, parameters=parameters, **options)
    if instances == "one":
        return OrderedConsumer[T](context, subjects, durable, parameters=parameters, ordered_by=ordered_by, **options)
    if member is not None:
        check_group(member, "member")
    name = member or f"{socket.gethostname()}-{os.getpid()}-{context.client.connection.new_inbox()[-6:]}"
    standby = partial(
        StandbyConsumer[T], context, subjects, ordered_by=ordered_by, takeover=takeover, member=name, **options
    )
    if instances == "standby":
        return standby(durable, parameters=parameters)
    check_consume(subjects, durable, where=parameters, **options)
    return _shared(context, subjects, durable, parameters, ordered_by, takeover, keys, name, standby)


def _shared(
    context: ConsumeContext,
    subjects: Sequence[DurableSubject[T]],
    group: str,
    parameters: dict[str, str | None],
    ordered_by: Key,
    takeover: float | None,
    keys: Iterable[str] | None,
    member: str,
    standby: Callable[..., StandbyConsumer[T]],
) -> SharedConsumer[T]:
    by = key_parameter(subjects, ordered_by)
    if by in parameters:
        raise InvalidArgument(f"{by}={parameters[by]!r}: which {by} an instance reads is shared out; leave it out")
    known = _declared_keys(group, subjects)
    wanted = known if keys is None else check_keys(group, keys)
    if not wanted:
        raise InvalidArgument(
            f"durable {group!r}: no keys are declared that its instances could share: declare them with `shares(…)` in "
            "the entry point group mts1b.consumers, or give keys=[…] on a bus without declarations"
        )
    if known and (unknown := sorted(set(wanted) - set(known))):
        raise InvalidArgument(
            f"durable {group!r}: {', '.join(unknown)} is not declared as a key of it; declared: {', '.join(known)}. "
            "Add it to `shares(…)` and run `mts1b streams apply`"
        )

    async def members(changed: Callable[[], None]) -> Members:
        subject = group_subject(await stream_of(context.client, subjects), group)
        return Members(context.client, subject, member, dead=takeover or DEFAULT_TAKEOVER, changed=changed)

    readers = {key: partial(standby, durable_of(group, key), parameters={**parameters, by: key}) for key in wanted}
    for make in readers.values():
        make()  # what cannot be is said before anything is read
    patterns = tuple(subject.pattern for subject in subjects)
    return SharedConsumer(context, group, patterns=patterns, readers=readers, members=members)


def _declared_keys(group: str, subjects: Sequence[DurableSubject[Any]]) -> tuple[str, ...]:
    """The keys that are declared for the instances of the reader ``group``; empty when none are."""
    patterns = [form for subject in subjects for each in subject.lineage for form in each.patterns]
    return tuple(
        each.key
        for each in declared().consumers
        if isinstance(each, ConsumerDefinition)
        and each.group == group
        and all(covers(patterns, form) for form in each.filters)
    )
