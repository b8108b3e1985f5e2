"""Being found: NATS's service protocol, answered on the bus's own connection.

::

    $SRV.PING | $SRV.INFO | $SRV.STATS    every process answers
    $SRV.STATS.<service>                  every instance of one service
    $SRV.STATS.<service>.<id>             one instance

``nats micro ls`` asks this, and so does the console. A process answers what it says of itself: its
version, host and start, when its certificate ends, and how much it has handled. Nothing on the bus is decided by it.
"""

import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any, Final

from mts1b_platform.eventbus import AccessDenied, Consumer, EventBus, Message, SharedConsumer
from mts1b_platform.eventbus.errors import RequestTimeout, ServerUnavailable
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.metrics import seconds_at_work

log = get_logger("mts1b.service")

_OTHERS: Final = re.compile(r"[^A-Za-z0-9_-]+")
_UNKNOWN: Final = "0.0.0"
_NANOSECONDS: Final = 1e9


async def be_found(bus: EventBus, *, version: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
    """Answer on ``bus`` until it is closed.

    A server whose configuration does not let this identity answer leaves it unfound, which the log says.

    Args:
        bus: speaks as the service.
        version: of the service; that of the installed package of its name when left out.
        metadata: said beside host, process and certificate.
    """
    process = Process(bus, version or _version(bus.service), metadata or {})
    try:
        for subject in ("$SRV.*", f"$SRV.*.{process.name}", f"$SRV.*.{process.name}.{process.id}"):
            await bus.subscribe(subject, cb=process.answer)
        with suppress(ServerUnavailable, RequestTimeout):  # then it knows of them when the connection is back
            await bus.connection.flush()
    except AccessDenied as error:
        log.warning("this process cannot be found by $SRV", service=bus.service, error=str(error))


class Process:
    """What one process says of itself.

    Args:
        bus: whose counters are told.
        version: of the service.
        metadata: what is said besides.
    """

    def __init__(self, bus: EventBus, version: str, metadata: Mapping[str, str]) -> None:
        self._bus = bus
        self._version = version
        self._metadata = metadata
        self._started = datetime.now(UTC)
        self._told()  # loads now what would hold up the event loop when somebody asks
        self.name = _OTHERS.sub("-", bus.service)
        self.id = _OTHERS.sub("", bus.new_inbox().rpartition(".")[2])
        """Tells this process from the others of the service."""

    async def answer(self, message: Message) -> None:
        """Answer one question; one of another kind is somebody else's."""
        kind = message.subject.split(".")[1]
        if message.reply and (document := self._document(kind)) is not None:
            await message.respond(json.dumps(document, separators=(",", ":")).encode())

    def _document(self, kind: str) -> dict[str, Any] | None:
        said: dict[str, Any] = {
            "type": f"io.nats.micro.v1.{kind.lower()}_response",
            "name": self.name,
            "id": self.id,
            "version": self._version,
            "metadata": self._told(),
        }
        match kind:
            case "PING":
                return said
            case "INFO":
                return {
                    **said,
                    "description": f"MTS1B {self._bus.service}",
                    "endpoints": self._endpoints(counted=False),
                }
            case "STATS":
                started = self._started.isoformat().replace("+00:00", "Z")
                return {**said, "started": started, "endpoints": self._endpoints(counted=True)}
            case _:
                return None

    def _told(self) -> dict[str, str]:
        told = {"repo": self._bus.service, "host": socket.gethostname(), "pid": str(os.getpid()), **self._metadata}
        if (end := self._bus.identity.certificate_ends) is not None:
            told["certificate_ends"] = end.isoformat().replace("+00:00", "Z")
        return told

    def _endpoints(self, *, counted: bool) -> list[dict[str, Any]]:
        """What it reads, by reader and registered subject. Readers of one subject share its counts."""
        seconds = seconds_at_work(self._bus)
        found: list[dict[str, Any]] = []
        for reader in self._bus.readers:
            durable = reader.durable if isinstance(reader, Consumer | SharedConsumer) else ""
            for pattern in reader.patterns:
                endpoint: dict[str, Any] = {
                    "name": _OTHERS.sub("-", durable or pattern.removeprefix("mts.")).strip("-"),
                    "subject": pattern,
                    "queue_group": "",
                }
                found.append({**endpoint, **self._counts(pattern, seconds)} if counted else endpoint)
        return found

    def _counts(self, pattern: str, seconds: Mapping[str, float]) -> dict[str, Any]:
        handled, failed = self._bus.counters.consumed[pattern], self._bus.counters.consume_errors[pattern]
        spent = int(seconds.get(pattern, 0.0) * _NANOSECONDS)
        return {
            "num_requests": handled + failed,
            "num_errors": failed,
            "last_error": "",
            "processing_time": spent,
            "average_processing_time": spent // max(1, handled),
        }


def _version(service: str) -> str:
    try:
        return installed(service)
    except PackageNotFoundError:
        return _UNKNOWN
