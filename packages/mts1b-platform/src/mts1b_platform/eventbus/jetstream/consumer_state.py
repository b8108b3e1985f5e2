"""Where a durable stands, as the server sees it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from mts1b_platform.eventbus.errors import ConsumerGone
from mts1b_platform.eventbus.jetstream.api import ApiError, Requester, js_api
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode


class ConsumerState(NamedTuple):
    """What ``CONSUMER.INFO`` tells of deliveries and acks."""

    pending: int
    """Messages that are delivered and not acknowledged."""
    floor: int
    """Up to this stream sequence all are acknowledged; maybe further ones too."""
    delivered: int
    """Stream sequence of the newest message that is delivered."""
    deliveries: int
    """Consumer sequence of the last delivery."""

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Self:
        """What a ``CONSUMER.INFO`` says."""
        delivered = info["delivered"]
        return cls(
            info["num_ack_pending"], info["ack_floor"]["stream_seq"], delivered["stream_seq"], delivered["consumer_seq"]
        )


async def consumer_state(client: Requester, stream: str, durable: str) -> ConsumerState:
    """Ask the server where a durable stands.

    Raises:
        ConsumerGone: it does not exist any more, or its stream does not.
        JetStreamUnavailable: nobody answered.
    """
    try:
        return ConsumerState.of(await js_api(client, f"CONSUMER.INFO.{stream}.{durable}"))
    except ApiError as error:
        if error.err_code in (ErrorCode.CONSUMER_NOT_FOUND, ErrorCode.STREAM_NOT_FOUND):
            raise gone(stream, durable) from None
        raise


def gone(stream: str, durable: str) -> ConsumerGone:
    """The durable was deleted, by itself or with its stream."""
    return ConsumerGone(
        f"durable {durable!r} on {stream} was deleted while in use; its position is lost. Consuming again creates it "
        "anew and starts from its beginning"
    )
