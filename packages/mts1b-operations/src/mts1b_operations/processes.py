"""The processes on the bus, as each says of itself by NATS's service protocol, and when the server's certificate ends.

What they say is shown and decides nothing: on a locked-down bus every service may answer, also under another's name.
"""

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from cryptography import x509
from mts1b_platform.eventbus import EventBus
from mts1b_platform.logs import get_logger
from mts1b_platform.threads import in_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = get_logger("mts1b.services")

ASKED: Final = "$SRV.STATS"
MOST: Final = 500
"""Processes that are told of."""
_TIMEOUT: Final = 2.0
_STALL: Final = 0.4


class _Said(BaseModel):
    """What answers, as far as it can be believed to be text and numbers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Reading(_Said):
    """Something that a process reads or answers, and how often it did."""

    name: str = Field(max_length=200)
    subject: str = Field(default="", max_length=400)
    handled: int = Field(default=0, ge=0, alias="num_requests")
    """Events handled, and failures."""
    errors: int = Field(default=0, ge=0, alias="num_errors")
    nanoseconds: int = Field(default=0, ge=0, alias="processing_time")
    """That handlers of durable events were at work."""


class Process(_Said):
    """One process."""

    name: str = Field(max_length=200)
    id: str = Field(max_length=200)
    version: str = Field(default="", max_length=100)
    started: datetime | None = None
    metadata: dict[str, str] = Field(default_factory=dict[str, str], max_length=50)
    endpoints: list[Reading] = Field(default_factory=list[Reading], max_length=500)

    @property
    def service(self) -> str:
        """The repo that it says it speaks as."""
        return self.metadata.get("repo") or self.name

    def to_json(self) -> dict[str, Any]:
        """It as a JSON document."""
        document = self.model_dump(mode="json")
        return {**document, "service": self.service, "certificate_ends": self.certificate_ends}

    @property
    def certificate_ends(self) -> str | None:
        """When it says that its certificate ends."""
        with suppress(KeyError, ValueError):
            return datetime.fromisoformat(self.metadata["certificate_ends"]).isoformat()
        return None


@dataclass(frozen=True, slots=True)
class Processes:
    """Who answered."""

    processes: list[Process]
    unreadable: int
    """Answers that say nothing that can be shown."""


async def processes(bus: EventBus) -> Processes:
    """Ask who is there.

    Raises:
        AccessDenied: this identity may not ask.
        BusError: the bus is closed.
    """
    found: list[Process] = []
    unreadable = 0
    for answer in await bus.request_many(ASKED, timeout=_TIMEOUT, stall=_STALL):
        try:
            found.append(Process.model_validate_json(answer.data))
        except ValidationError:
            unreadable += 1
    if unreadable:
        log.warning("answers to $SRV.STATS cannot be read", count=unreadable)
    found.sort(key=lambda each: (each.service, each.name, each.id))
    return Processes(found[:MOST], unreadable)


async def server_certificate_ends(bus: EventBus) -> datetime | None:
    """When the certificate ends that the server of ``bus`` shows now; None without TLS, or when it cannot be asked."""
    server, context = bus.connected_url, bus.identity.credentials().tls
    if server is None or context is None or server.websocket:
        return None
    name = server.tls_name or server.host
    try:
        # in a thread: a handshake that fails leaves its error to other connections of its own thread
        shown = await in_thread(partial(_shown, server.host, server.port, name, context))
    except (OSError, ValueError) as error:
        log.warning("the server's certificate cannot be looked at", server=str(server), error=str(error))
        return None
    return x509.load_der_x509_certificate(shown).not_valid_after_utc if shown else None


def _shown(host: str, port: int, name: str, context: ssl.SSLContext) -> bytes | None:
    """What whoever connects is shown: NATS begins in clear text, TLS follows the server's greeting."""
    with socket.create_connection((host, port), timeout=_TIMEOUT) as plain:
        plain.recv(65_536)
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.getpeercert(binary_form=True)
