"""The server's advisories about messages that a consumer gave up: stored in a stream, so that none is missed.

NATS moves no message by itself. It publishes ``MAX_DELIVERIES`` once when a message was delivered as often as its
consumer allows (for a pull consumer only at the next pull), and ``MSG_TERMINATED`` when a reader terminated it.
"""

import json
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import nats.errors
from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.api import ApiError, js_api
from mts1b_platform.eventbus.errors import JetStreamUnavailable
from mts1b_platform.eventbus.headers import Headers

_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059


@dataclass(frozen=True, slots=True)
class Advisory:
    """A consumer gave up on one message."""

    stream: str
    sequence: int
    consumer: str
    deliveries: int
    reason: DeadLetterReason
    error: str

    @classmethod
    def parse(cls, data: bytes) -> "Advisory":
        """The advisory in the server's JSON.

        Raises:
            ValueError: it is none.
        """
        try:
            document: dict[str, Any] = json.loads(data)
            terminated = document["type"].endswith("terminated")
            said = str(document.get("reason") or "")
            deliveries = int(document["deliveries"])
            if not terminated:
                reason = DeadLetterReason.MAX_DELIVERIES
                error = f"delivered {deliveries} times and never acknowledged; its consumer allows no more"
            elif said in {reason.value for reason in DeadLetterReason}:
                reason, error = DeadLetterReason(said), f"terminated by its reader: {said}"
            else:
                reason = DeadLetterReason.REJECTED
                error = f"terminated by its reader{f': {said}' if said else ', without a reason'}"
            return cls(document["stream"], int(document["stream_seq"]), document["consumer"], deliveries, reason, error)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"no advisory that a message was given up: {error!r} in {data[:200]!r}") from error


@dataclass(frozen=True, slots=True)
class Original:
    """A message as its stream holds it."""

    subject: str
    headers: dict[str, str]
    payload: bytes
    stored_at: datetime


async def read_original(bus: EventBus, stream: str, sequence: int) -> Original | None:
    """The message; None when the stream has it no more.

    Raises:
        JetStreamUnavailable: nobody answers.
        ApiError: the server refuses to say.
    """
    try:
        document = await js_api(bus, f"STREAM.MSG.GET.{stream}", {"seq": sequence})
    except ApiError as error:
        if error.err_code in (_NO_MESSAGE, _NO_STREAM):
            return None
        raise
    except nats.errors.Error as error:
        raise JetStreamUnavailable(f"{stream}:{sequence} cannot be read: {error}") from error
    message = document["message"]
    headers = Headers(b64decode(message.get("hdrs", "")))
    return Original(
        message["subject"],
        {name: ", ".join(headers.get_all(name)) for name in headers},
        b64decode(message.get("data", "")),
        datetime.fromisoformat(_microseconds(message["time"])),
    )


def _microseconds(time: str) -> str:
    """The server writes up to nine digits behind the second; Python reads six."""
    whole, _, rest = time.removesuffix("Z").partition(".")
    return f"{whole}.{rest[:6].ljust(6, '0')}+00:00"
