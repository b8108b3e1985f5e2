"""Consumers that acknowledge nothing: the server hands out and forgets, and the reader knows where it is."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

from mts1b_platform.eventbus.errors import ConsumeError
from mts1b_platform.eventbus.jetstream.api import ApiError, Requester, js_api
from mts1b_platform.eventbus.jetstream.durables import SERVICE, no_stream
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode

_SECOND = 1_000_000_000


async def make_unacknowledged(
    client: Requester,
    *,
    stream: str,
    name: str,
    filters: Sequence[str],
    begin: Literal["all", "new"] | int,
    inactive_threshold: float,
    service: str | None,
) -> int:
    """Make the consumer ``name`` anew; the stream sequence behind which it begins.

    Args:
        client: who asks.
        stream: what is read.
        name: of the consumer; one of this name is replaced.
        filters: the subjects that are read.
        begin: with the first stored message, with the next one, or at a sequence.
        inactive_threshold: seconds without a reader after which the server forgets it.
        service: the repo that reads, for people who look at it.

    Raises:
        NoStream: the stream does not exist.
        ConsumeError: the server refuses the consumer.
        JetStreamUnavailable: nobody answered.
    """
    with suppress(ApiError):  # there is none, which is what is wanted; without a stream the next question says so
        await js_api(client, f"CONSUMER.DELETE.{stream}.{name}")
    config: dict[str, Any] = {
        "name": name,
        "ack_policy": "none",
        "max_deliver": -1,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(inactive_threshold * _SECOND),
        "filter_subjects": list(filters),
        "deliver_policy": begin,
    }
    if isinstance(begin, int):
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": begin}
    if service is not None:
        config["metadata"] = {SERVICE: service}
    body = {"stream_name": stream, "config": config, "action": "create"}
    try:
        made = await js_api(client, f"CONSUMER.CREATE.{stream}.{name}", body)
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            raise no_stream(stream, f"follower {name!r}") from None
        raise ConsumeError(f"consumer {name!r} on {stream}: {error}") from error
    return int(made["delivered"]["stream_seq"])
