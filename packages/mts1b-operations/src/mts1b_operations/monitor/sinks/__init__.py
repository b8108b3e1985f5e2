"""Whom the monitor tells. One that fails does not stop the others, and is told again."""

from mts1b_operations.monitor.sinks.alertmanager import AlertmanagerSink
from mts1b_operations.monitor.sinks.bus import BusSink
from mts1b_operations.monitor.sinks.log import LogSink
from mts1b_operations.monitor.sinks.pager import Channel, Pager
from mts1b_operations.monitor.sinks.sink import Sink, SinkError
from mts1b_operations.monitor.sinks.webhook import WebhookSink

__all__ = ["AlertmanagerSink", "BusSink", "Channel", "LogSink", "Pager", "Sink", "SinkError", "WebhookSink"]
