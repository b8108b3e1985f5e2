"""The event bus: connect, publish typed events, consume them without losing one."""

from mts1b_platform.eventbus.apply import (
    apply_streams,
    plan_streams,
    stream_config,
    unknown_streams,
    wait_for_jetstream,
)
from mts1b_platform.eventbus.bus import EventBus
from mts1b_platform.eventbus.connect import connect
from mts1b_platform.eventbus.consumer import Consumer
from mts1b_platform.eventbus.counters import Counters
from mts1b_platform.eventbus.errors import (
    AccessDenied,
    BusClosed,
    BusError,
    ConsumeError,
    ConsumerConflict,
    ConsumerGone,
    InvalidHeader,
    JetStreamUnavailable,
    NoStream,
    NotStored,
    NotTheProducer,
    PayloadTooLarge,
    PublishError,
    PublishUncertain,
    Reject,
    Retry,
    ServerUnavailable,
    StreamError,
)
from mts1b_platform.eventbus.event import Event, Heard
from mts1b_platform.eventbus.listener import Listener
from mts1b_platform.eventbus.position import Position
from mts1b_platform.eventbus.publish import Ack
from mts1b_platform.eventbus.publisher import Publisher
from mts1b_platform.eventbus.retry import RetryPolicy
from mts1b_platform.eventbus.stream_plan import FieldChange, StreamChange
from mts1b_platform.eventbus.streams import STREAMS, StreamDefinition

__all__ = [
    "STREAMS",
    "AccessDenied",
    "Ack",
    "BusClosed",
    "BusError",
    "ConsumeError",
    "Consumer",
    "ConsumerConflict",
    "ConsumerGone",
    "Counters",
    "Event",
    "EventBus",
    "FieldChange",
    "Heard",
    "InvalidHeader",
    "JetStreamUnavailable",
    "Listener",
    "NoStream",
    "NotStored",
    "NotTheProducer",
    "PayloadTooLarge",
    "Position",
    "PublishError",
    "PublishUncertain",
    "Publisher",
    "Reject",
    "Retry",
    "RetryPolicy",
    "ServerUnavailable",
    "StreamChange",
    "StreamDefinition",
    "StreamError",
    "apply_streams",
    "connect",
    "plan_streams",
    "stream_config",
    "unknown_streams",
    "wait_for_jetstream",
]
