"""The JetStream API, as far as the bus uses it."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from mts1b_platform.testing.simulation.server.consumer import Consumer
from mts1b_platform.testing.simulation.server.host import SECOND, Host
from mts1b_platform.testing.simulation.server.log import Stored
from mts1b_platform.testing.simulation.server.stream import Stream
from mts1b_platform.testing.simulation.server.subjects import tokens_match

Document = dict[str, Any]
Streams = dict[str, Stream]


def _error(code: int, err_code: int, words: str) -> Document:
    return {"error": {"code": code, "err_code": err_code, "description": words}}


_NO_STREAM: Final = _error(404, 10059, "stream not found")
_NO_CONSUMER: Final = _error(404, 10014, "consumer not found")
_NO_MESSAGE: Final = _error(404, 10037, "no message found")


def answer(server: Host, streams: Streams, verb: str, data: bytes) -> Document:
    """What ``$JS.API.<verb>`` is answered with."""
    words = verb.split(".")
    body: Document = json.loads(data) if data[:1] == b"{" else {}
    if verb == "INFO":
        return {"type": "io.nats.jetstream.api.v1.account_info_response", "streams": len(streams)}
    if verb == "STREAM.NAMES":
        return _names(streams, body.get("subject"))
    kind = ".".join(words[:3] if words[:2] == ["STREAM", "MSG"] else words[:2])
    name = words[3] if kind.startswith("STREAM.MSG.") else words[2]
    if kind == "STREAM.CREATE":
        return _create_stream(server, streams, name, body)
    stream = streams.get(name)
    if stream is None:
        return _NO_STREAM
    if (call := _STREAM_CALLS.get(kind)) is not None:
        return call(streams, stream, body)
    if (consumer_call := _CONSUMER_CALLS.get(kind)) is not None:
        return consumer_call(stream, words[3], body)
    return _error(404, 10000, f"{verb} is not modelled")


def _names(streams: Streams, wanted: str | None) -> Document:
    names = list(streams)
    if wanted is not None:
        tokens = wanted.split(".")
        names = [
            name
            for name, stream in streams.items()
            if stream.stores(tokens) or any(tokens_match(tokens, pattern) for pattern in stream.patterns)
        ]
    return {"total": len(names), "offset": 0, "limit": 1024, "streams": names or None}


def _create_stream(server: Host, streams: Streams, name: str, config: Document) -> Document:
    if (held := streams.get(name)) is not None:
        if held.config != config:
            return _error(400, 10058, "stream name already in use with a different configuration")
        return held.info()
    made = streams[name] = Stream(server, config, server.wall_ns())
    return made.info() | {"did_create": True}


def _stream_info(_: Streams, stream: Stream, body: Document) -> Document:
    return stream.info(body.get("subjects_filter", ""))


def _delete_stream(streams: Streams, stream: Stream, _: Document) -> Document:
    streams.pop(stream.name).close()
    return {"success": True}


def _delete_message(_: Streams, stream: Stream, body: Document) -> Document:
    if body["seq"] not in stream.messages:
        return _error(400, 10057, "sequence not found")
    stream.remove(body["seq"])
    return {"success": True}


def _get_message(_: Streams, stream: Stream, body: Document) -> Document:
    message = _find(stream, body)
    if message is None:
        return _NO_MESSAGE
    document: Document = {
        "subject": message.subject,
        "seq": message.seq,
        "data": b64encode(message.data).decode(),
        "time": datetime.fromtimestamp(message.at / SECOND, UTC).isoformat(),
    }
    if message.head:
        document["hdrs"] = b64encode(message.head).decode()
    return {"message": document}


def _find(stream: Stream, body: Document) -> Stored | None:
    if (subject := body.get("last_by_subj")) is not None:
        return stream.last_of(subject)
    if (pattern := body.get("next_by_subj")) is None:
        return stream.messages.get(body["seq"])
    tokens = pattern.split(".")
    begin = body.get("seq") or 0
    since = datetime.fromisoformat(start).timestamp() * SECOND if (start := body.get("start_time")) else 0
    for message in stream.messages.values():
        if message.seq >= begin and message.at >= since and tokens_match(tokens, message.tokens):
            return message
    return None


def _create_consumer(stream: Stream, name: str, body: Document) -> Document:
    config: Document = body["config"] | {"name": name}
    held = stream.consumers.get(name)
    if held is not None:
        if body.get("action") == "create":
            return _error(400, 10148, "consumer already exists")
        held.configure(held.config | config)
        return held.info()
    made = stream.consumers[name] = Consumer(stream, config)
    return made.info()


def _consumer_info(stream: Stream, name: str, _: Document) -> Document:
    held = stream.consumers.get(name)
    return held.info() if held is not None else _NO_CONSUMER


def _unpin_consumer(stream: Stream, name: str, _: Document) -> Document:
    held = stream.consumers.get(name)
    if held is None:
        return _NO_CONSUMER
    held.lose_pin()
    return {"type": "io.nats.jetstream.api.v1.consumer_unpin_response"}


def _delete_consumer(stream: Stream, name: str, _: Document) -> Document:
    held = stream.consumers.pop(name, None)
    if held is None:
        return _NO_CONSUMER
    held.close("409 Consumer Deleted")
    return {"success": True}


_STREAM_CALLS: Final[dict[str, Callable[[Streams, Stream, Document], Document]]] = {
    "STREAM.INFO": _stream_info,
    "STREAM.DELETE": _delete_stream,
    "STREAM.MSG.GET": _get_message,
    "STREAM.MSG.DELETE": _delete_message,
}
_CONSUMER_CALLS: Final[dict[str, Callable[[Stream, str, Document], Document]]] = {
    "CONSUMER.CREATE": _create_consumer,
    "CONSUMER.INFO": _consumer_info,
    "CONSUMER.UNPIN": _unpin_consumer,
    "CONSUMER.DELETE": _delete_consumer,
}
