"""The event bus: connect, publish typed events, consume them without losing one.

A name is imported when it is first asked for (PEP 562), so that what declares streams and consumers, and every tool
that reads the declarations, does without the client, its dependencies and the telemetry.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus
    from mts1b_platform.eventbus.connect import connect
    from mts1b_platform.eventbus.connection.messages import Message, MessageSubscription
    from mts1b_platform.eventbus.consuming.changes import Active, Given, Standby, Taken
    from mts1b_platform.eventbus.consuming.consumer import Consumer
    from mts1b_platform.eventbus.consuming.follower import Follower
    from mts1b_platform.eventbus.consuming.instances.shared import SharedConsumer
    from mts1b_platform.eventbus.consuming.listener import Listener
    from mts1b_platform.eventbus.consuming.options import ConsumeOptions, Parameters
    from mts1b_platform.eventbus.consuming.raw_reader import RawReader
    from mts1b_platform.eventbus.consuming.retry import RetryPolicy
    from mts1b_platform.eventbus.counters import Counters
    from mts1b_platform.eventbus.errors import (
        AccessDenied,
        AlreadyStored,
        BatchRefused,
        BusClosed,
        BusError,
        ConsumeError,
        ConsumerConflict,
        ConsumerGone,
        InvalidArgument,
        InvalidHeader,
        JetStreamUnavailable,
        NoResponders,
        NoStream,
        NotStored,
        NotTheProducer,
        PayloadTooLarge,
        PublishError,
        PublishUncertain,
        Reject,
        RequestTimeout,
        Retry,
        ServerUnavailable,
        StreamError,
        SubscriptionRefused,
        Superseded,
        WrongEventLoop,
    )
    from mts1b_platform.eventbus.events.event import Event, LiveEvent
    from mts1b_platform.eventbus.events.outgoing import Ack
    from mts1b_platform.eventbus.jetstream.apply_streams import (
        apply_streams,
        plan_streams,
        stream_config,
        unknown_streams,
        wait_for_jetstream,
    )
    from mts1b_platform.eventbus.jetstream.stream_plan import FieldChange, StreamChange
    from mts1b_platform.eventbus.protocol.position import Position
    from mts1b_platform.eventbus.publishing.ingest import Ingested
    from mts1b_platform.eventbus.publishing.publisher import Publisher
    from mts1b_platform.eventbus.streams import STREAMS, StreamDefinition

__all__ = [
    "STREAMS",
    "AccessDenied",
    "Ack",
    "Active",
    "AlreadyStored",
    "BatchRefused",
    "BusClosed",
    "BusError",
    "ConsumeError",
    "ConsumeOptions",
    "Consumer",
    "ConsumerConflict",
    "ConsumerGone",
    "Counters",
    "Event",
    "EventBus",
    "FieldChange",
    "Follower",
    "Given",
    "Ingested",
    "InvalidArgument",
    "InvalidHeader",
    "JetStreamUnavailable",
    "Listener",
    "LiveEvent",
    "Message",
    "MessageSubscription",
    "NoResponders",
    "NoStream",
    "NotStored",
    "NotTheProducer",
    "Parameters",
    "PayloadTooLarge",
    "Position",
    "PublishError",
    "PublishUncertain",
    "Publisher",
    "RawReader",
    "Reject",
    "RequestTimeout",
    "Retry",
    "RetryPolicy",
    "ServerUnavailable",
    "SharedConsumer",
    "Standby",
    "StreamChange",
    "StreamDefinition",
    "StreamError",
    "SubscriptionRefused",
    "Superseded",
    "Taken",
    "WrongEventLoop",
    "apply_streams",
    "connect",
    "plan_streams",
    "stream_config",
    "unknown_streams",
    "wait_for_jetstream",
]

_HOMES: Final = {
    "bus": ("EventBus",),
    "connect": ("connect",),
    "connection.messages": ("Message", "MessageSubscription"),
    "consuming.changes": ("Active", "Given", "Standby", "Taken"),
    "consuming.consumer": ("Consumer",),
    "consuming.follower": ("Follower",),
    "consuming.instances.shared": ("SharedConsumer",),
    "consuming.listener": ("Listener",),
    "consuming.options": ("ConsumeOptions", "Parameters"),
    "consuming.raw_reader": ("RawReader",),
    "consuming.retry": ("RetryPolicy",),
    "counters": ("Counters",),
    "errors": (
        "AccessDenied", "AlreadyStored", "BatchRefused", "BusClosed", "BusError", "ConsumeError", "ConsumerConflict",
        "ConsumerGone", "InvalidArgument", "InvalidHeader", "JetStreamUnavailable", "NoResponders", "NoStream",
        "NotStored", "NotTheProducer", "PayloadTooLarge", "PublishError", "PublishUncertain", "Reject",
        "RequestTimeout", "Retry", "ServerUnavailable", "StreamError", "SubscriptionRefused",
        "Superseded", "WrongEventLoop",
    ),
    "events.event": ("Event", "LiveEvent"),
    "events.outgoing": ("Ack",),
    "jetstream.apply_streams": (
        "apply_streams", "plan_streams", "stream_config", "unknown_streams", "wait_for_jetstream",
    ),
    "jetstream.stream_plan": ("FieldChange", "StreamChange"),
    "protocol.position": ("Position",),
    "publishing.ingest": ("Ingested",),
    "publishing.publisher": ("Publisher",),
    "streams": ("STREAMS", "StreamDefinition"),
}  # fmt: skip
"""Which module each of the names above comes from."""
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # an editor still refuses a name that does not exist

    def __getattr__(name: str) -> Any:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(globals().keys() | _HOME_OF.keys())


class _Package(ModuleType):
    """Keeps ``connect`` the function: Python would set the submodule of that name in its place on loading it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "connect" and isinstance(value, ModuleType):
            value = value.connect
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
