"""Where a durable stands, as the server sees it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from mts1b_platform.eventbus.jetstream.api import Requester, js_api


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
        ApiError: it does not exist.
        JetStreamUnavailable: nobody answered.
    """
    return ConsumerState.of(await js_api(client, f"CONSUMER.INFO.{stream}.{durable}"))
