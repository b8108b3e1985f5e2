"""Reading one stored message, by its sequence or as the next or last of a subject. The stream's leader answers."""

from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mts1b_platform.eventbus.jetstream.api import ApiError, Requester, js_api
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.message import WireMsg


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as a stream holds it."""

    seq: int
    time: datetime
    """When the stream stored it, UTC."""
    wire: WireMsg
    stamp: str
    """When the stream stored it, as the server writes it, to the nanosecond."""


async def read_stored(
    client: Requester,
    stream: str,
    *,
    seq: int | None = None,
    since: datetime | None = None,
    start: str | None = None,
    next_by: str | None = None,
    last_by: str | None = None,
    timeout: float = 5.0,
) -> StoredMessage | None:
    """The stored message that is asked for; None when there is none.

    Args:
        client: the connection.
        stream: name of the stream.
        seq: the sequence; with ``next_by`` the first one that counts.
        since: with ``next_by``: the first time that counts, in place of ``seq``.
        start: the same, as the server writes it.
        next_by: a subject or pattern: the next message that matches.
        last_by: a subject: its last message.
        timeout: seconds until the server must have answered.

    Raises:
        ApiError: the stream does not exist, or the server refuses to say.
        JetStreamUnavailable: nobody answered.
        BusClosed: the connection is closed.
    """
    if since is not None:
        start = since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    wanted = {"seq": seq, "start_time": start, "next_by_subj": next_by, "last_by_subj": last_by}
    body = {name: value for name, value in wanted.items() if value is not None}
    try:
        document = await js_api(client, f"STREAM.MSG.GET.{stream}", body, timeout=timeout)
    except ApiError as error:
        if error.err_code == ErrorCode.NO_MESSAGE_FOUND:
            return None
        raise
    message: dict[str, Any] = document["message"]
    head, payload = (b64decode(message.get(part, "")) for part in ("hdrs", "data"))
    wire = WireMsg(str(message["subject"]).encode(), b"", head, payload)
    return StoredMessage(int(message["seq"]), datetime.fromisoformat(message["time"]), wire, message["time"])
