"""Storing what was published: deduplication, expectations, atomic batches."""

import json
from typing import Any, Final

from mts1b_platform.testing.simulation.server.host import Host
from mts1b_platform.testing.simulation.server.stream import Stream, nats_headers

_ABANDONED: Final = 10.0
"""Seconds without a message after which an atomic batch is forgotten."""


def store(server: Host, stream: Stream, subject: str, reply: str, head: bytes, data: bytes) -> None:
    """Store one message, or take it into its batch, and answer."""
    headers = nats_headers(head)
    if "nats-batch-id" in headers:
        answer = _batched(server, stream, subject, head, data, headers)
    else:
        answer = _single(stream, subject, head, data, headers)
    if reply:
        # Stored now, written a moment later, as the server's answers leave in a batch.
        payload = json.dumps(answer, separators=(",", ":")).encode() if answer else b""
        server.soon(lambda: server.interest.route(reply, "", b"", payload))


def _refused(stream: Stream, err_code: int, words: str, code: int = 400) -> dict[str, Any]:
    return {"error": {"code": code, "err_code": err_code, "description": words}, "stream": stream.name, "seq": 0}


def _single(stream: Stream, subject: str, head: bytes, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
    message_id = headers.get("nats-msg-id")
    if message_id and (seq := stream.known(message_id)):
        return {"stream": stream.name, "seq": seq, "duplicate": True}
    if stream.is_full:
        return _refused(stream, 10077, "maximum messages exceeded", code=503)
    if (wrong := _unexpected(stream, subject, headers)) is not None:
        return wrong
    return {"stream": stream.name, "seq": stream.append(subject, head, data, headers)}


def _unexpected(stream: Stream, subject: str, headers: dict[str, str]) -> dict[str, Any] | None:
    last_id = headers.get("nats-expected-last-msg-id")
    if last_id is not None and last_id != stream.last_id:
        return _refused(stream, 10070, f"wrong last msg ID: {stream.last_id}")
    last = headers.get("nats-expected-last-sequence")
    if last is not None and int(last) != stream.last:
        return _refused(stream, 10071, f"wrong last sequence: {stream.last}")
    last = headers.get("nats-expected-last-subject-sequence")
    if last is not None:
        held = stream.last_of(subject)
        seq = held.seq if held is not None else 0
        if int(last) != seq:
            return _refused(stream, 10071, f"wrong last sequence: {seq}")
    return None


def _batched(
    server: Host, stream: Stream, subject: str, head: bytes, data: bytes, headers: dict[str, str]
) -> dict[str, Any]:
    """The answer; empty before the last message."""
    name, number = headers["nats-batch-id"], int(headers["nats-batch-sequence"])
    batch = stream.batches.get(name, [])
    if number != len(batch) + 1:
        stream.batches.pop(name, None)
        return _refused(stream, 10176, "atomic publish batch is incomplete")
    batch.append((subject, head, data))
    if "nats-batch-commit" not in headers:
        stream.batches[name] = batch
        server.at(server.now() + _ABANDONED, _abandon, stream, name, number)
        return {}
    stream.batches.pop(name, None)
    each = [nats_headers(head) for _, head, _ in batch]
    ids = [headers["nats-msg-id"] for headers in each if "nats-msg-id" in headers]
    if len(set(ids)) < len(ids) or any(stream.known(message_id) for message_id in ids):
        return _refused(stream, 10201, "atomic publish batch contains duplicate message id")
    seq = 0
    for (subject, head, data), headers in zip(batch, each, strict=True):
        seq = stream.append(subject, head, data, headers)
    return {"stream": stream.name, "seq": seq, "batch": name, "count": number}


def _abandon(stream: Stream, name: str, number: int) -> None:
    if len(stream.batches.get(name, ())) == number:
        del stream.batches[name]
