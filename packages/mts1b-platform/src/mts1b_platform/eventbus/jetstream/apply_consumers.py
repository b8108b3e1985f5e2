"""Creating the declared consumers on the server."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mts1b_foundation.subjects.contributions import ConsumerDeclaration

from mts1b_platform.eventbus.consumers import MAX_ACK_PENDING, ConsumerDefinition, declared_consumers
from mts1b_platform.eventbus.jetstream.api import ApiError, Requester, js_api
from mts1b_platform.eventbus.jetstream.durables import ensure_durable
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class ConsumerChange:
    """What was done about one declared consumer."""

    stream: str
    durable: str
    service: str
    action: Literal["created", "unchanged"]


async def apply_consumers(
    client: Requester, consumers: Iterable[ConsumerDeclaration] | None = None
) -> list[ConsumerChange]:
    """Create the declared consumers that are missing; those that exist must read what they are declared to.

    Raises:
        ConsumerConflict: one exists and reads something else; nothing of it was changed.
        NoStream: its stream does not exist.
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    changes: list[ConsumerChange] = []
    for wanted in declared_consumers() if consumers is None else consumers:
        there = await _exists(client, wanted)
        full = isinstance(wanted, ConsumerDefinition)
        await ensure_durable(
            client,
            stream=wanted.stream,
            durable=wanted.durable,
            filters=wanted.filters,
            ack_wait=wanted.ack_wait if full else 30.0,
            deliver=wanted.deliver if full else "all",
            max_ack_pending=MAX_ACK_PENDING,
        )
        action: Literal["created", "unchanged"] = "unchanged" if there else "created"
        changes.append(ConsumerChange(wanted.stream, wanted.durable, wanted.service, action))
    return changes


async def _exists(client: Requester, wanted: ConsumerDeclaration) -> bool:

    try:
        await js_api(client, f"CONSUMER.INFO.{wanted.stream}.{wanted.durable}")
    except ApiError as error:
        if error.err_code == ErrorCode.CONSUMER_NOT_FOUND:
            return False
        if error.code == 404:
            return False  # no stream: creating says so, with the remedy
        raise
    return True
