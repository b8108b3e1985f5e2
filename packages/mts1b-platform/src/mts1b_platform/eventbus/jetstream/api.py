"""The JetStream API in JSON: one call, errors that say what to do.

nats-py's own classes drop fields that newer servers know, and an update with a field left out resets it; so plans
and consumers are read and written as the server's own documents.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from mts1b_platform.eventbus.errors import BusClosed, BusError, JetStreamUnavailable, NoResponders, ServerUnavailable
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode

_ATTEMPT: Final = 2.5
"""Seconds after which a question that nobody answers is asked again."""
_LEAST: Final = 0.05
_PAUSE: Final = 0.1


class Answer(Protocol):
    """What a request is answered with."""

    @property
    def data(self) -> bytes:
        """The payload."""
        ...


class Requester(Protocol):
    """A connection that can ask: the bus."""

    @property
    def connected_url(self) -> object | None:
        """The server it is connected to; its ``str`` is the URL, without credentials."""
        ...

    @property
    def has_jetstream(self) -> bool:
        """Whether the connected server says that it has JetStream."""
        ...

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 0.5) -> Answer:
        """Ask, and return the answer."""
        ...


class ApiError(BusError):
    """JetStream refused a request.

    Attributes:
        code: HTTP-like class of the error.
        err_code: JetStream's own number of it.
        description: the server's words.
    """

    def __init__(self, verb: str, code: int, err_code: int, description: str) -> None:
        super().__init__(f"JetStream refused {verb}: {description} (error {err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


async def js_api(
    client: Requester, verb: str, body: Mapping[str, Any] | None = None, *, timeout: float = 5.0
) -> dict[str, Any]:
    """Ask ``$JS.API.<verb>`` and return the answer's document.

    A question that is lost with the connection, that a leader which is moving does not answer, or that a cluster
    without a leader refuses, is asked again until ``timeout``: all of these requests may be made twice.

    Raises:
        ApiError: JetStream answered with an error.
        JetStreamUnavailable: nobody answered.
        BusClosed: the connection is closed.
    """
    payload = json.dumps(body).encode() if body is not None else b""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while True:
        left = end - loop.time()
        try:
            answer = await client.request(f"$JS.API.{verb}", payload, timeout=max(_LEAST, min(_ATTEMPT, left)))
        except NoResponders:
            if not client.has_jetstream or left < _PAUSE:
                raise JetStreamUnavailable(no_jetstream(client)) from None
        except BusClosed:
            raise BusClosed(f"the connection was closed before JetStream answered {verb}") from None
        except (TimeoutError, ServerUnavailable):
            if left < _PAUSE:
                raise JetStreamUnavailable(
                    f"JetStream did not answer {verb} within {timeout:g} s at {where(client)}: the server may be "
                    "restarting, may have lost its quorum, or may not permit this identity to ask"
                ) from None
        else:
            document: dict[str, Any] = json.loads(answer.data)
            if (error := document.get("error")) is None:
                return document
            code = error.get("err_code", 0)
            if code != ErrorCode.CLUSTER_NOT_AVAILABLE or left < _PAUSE:
                # no variable holds it: its traceback holds this frame, and with it the caller's
                raise ApiError(verb, error.get("code", 0), code, error.get("description", ""))
        await asyncio.sleep(_PAUSE)


def where(client: Requester) -> str:
    """The server that ``client`` is connected to, for messages; without credentials."""
    url = client.connected_url
    return str(url) if url else "(not connected)"


def no_jetstream(client: Requester) -> str:
    """What to say when the server has no JetStream."""
    return (
        f"the NATS server at {where(client)} has JetStream off or not ready: start it with `-js`, "
        "or install one with `mts1b-deploy install --profile minimal --include nats`"
    )
