"""Creating the declared consumers on the server, and bringing their settings up to date."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from mts1b_foundation.subjects.contributions import ConsumerDeclaration

from mts1b_platform.eventbus.consumers import MAX_ACK_PENDING, ConsumerDefinition
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.errors import ConsumeError
from mts1b_platform.eventbus.jetstream.api import ApiError, Requester, js_api
from mts1b_platform.eventbus.jetstream.durables import DEFAULT_ACK_WAIT, ensure_durable, pin_in_place
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.pins import is_pinned, not_pinned, pinning

_SECOND: Final = 1_000_000_000
_NOT_FOUND: Final = 404
_ABSENT: Final = {"ack_wait": 0, "max_deliver": -1, "headers_only": False, **not_pinned()}
"""What the server means when it leaves one of the settings out."""


@dataclass(frozen=True, slots=True)
class ConsumerChange:
    """What was done about one declared consumer."""

    stream: str
    durable: str
    service: str
    action: Literal["created", "updated", "unchanged"]


async def apply_consumers(
    client: Requester, consumers: Iterable[ConsumerDeclaration] | None = None
) -> list[ConsumerChange]:
    """Create the declared consumers that are missing, and change the settings of those that differ.

    A consumer keeps its position. What it reads is not changed.

    Raises:
        ConsumerConflict: one exists and reads something else, or would become pinned or plain under its readers;
            nothing of it was changed.
        NoStream: its stream does not exist.
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    changes: list[ConsumerChange] = []
    for wanted in declared().consumers if consumers is None else consumers:
        held = await _held(client, wanted)
        full = wanted if isinstance(wanted, ConsumerDefinition) else None
        ack_wait = full.ack_wait if full else DEFAULT_ACK_WAIT
        updated = held is not None and await _update(client, wanted, held)
        await ensure_durable(
            client,
            stream=wanted.stream,
            durable=wanted.durable,
            filters=wanted.filters,
            ack_wait=ack_wait,
            deliver=full.deliver if full else "all",
            max_ack_pending=MAX_ACK_PENDING,
            service=wanted.service,
            pinned=_is_pinned(wanted),
            takeover=full.takeover if full is not None and full.pinned else None,
        )
        action = "created" if held is None else "updated" if updated else "unchanged"
        changes.append(ConsumerChange(wanted.stream, wanted.durable, wanted.service, action))
    return changes


async def plan_consumers(client: Requester, consumers: Iterable[ConsumerDeclaration]) -> list[ConsumerChange]:
    """What :func:`apply_consumers` would do; changes nothing, and does not compare what a durable reads.

    Raises:
        JetStreamUnavailable: the server has no JetStream, or does not answer.
    """
    changes: list[ConsumerChange] = []
    for wanted in consumers:
        held = await _held(client, wanted)
        action = "created" if held is None else "updated" if _differs(held, _settings(wanted, held)) else "unchanged"
        changes.append(ConsumerChange(wanted.stream, wanted.durable, wanted.service, action))
    return changes


async def _held(client: Requester, wanted: ConsumerDeclaration) -> dict[str, Any] | None:
    """The durable's configuration on the server; None when it does not exist."""
    try:
        return (await js_api(client, f"CONSUMER.INFO.{wanted.stream}.{wanted.durable}"))["config"]
    except ApiError as error:
        if error.err_code == ErrorCode.CONSUMER_NOT_FOUND or error.code == _NOT_FOUND:
            return None  # no stream: creating says so, with the remedy
        raise


def _is_pinned(wanted: ConsumerDeclaration) -> bool:
    return isinstance(wanted, ConsumerDefinition) and wanted.pinned


def _settings(wanted: ConsumerDeclaration, held: dict[str, Any]) -> dict[str, Any]:
    """What is kept up to date of a durable."""
    full = wanted if isinstance(wanted, ConsumerDefinition) else None
    settings = {
        "ack_wait": int((full.ack_wait if full else DEFAULT_ACK_WAIT) * _SECOND),
        "max_deliver": -1,
        "headers_only": False,
    }
    if full is not None and full.pinned:
        return settings | pinning(full.takeover)
    return settings | not_pinned() if is_pinned(held) else settings


def _differs(held: dict[str, Any], settings: dict[str, Any]) -> bool:
    return any(held.get(name, _ABSENT[name]) != value for name, value in settings.items())


async def _update(client: Requester, wanted: ConsumerDeclaration, held: dict[str, Any]) -> bool:
    """Bring the settings of a durable up to date; says whether anything differed."""
    settings = _settings(wanted, held)
    if not _differs(held, settings):
        return False
    if (pinned := _is_pinned(wanted)) != is_pinned(held):
        takeover = settings["priority_timeout"] / _SECOND if pinned else None
        held = await pin_in_place(client, wanted.stream, wanted.durable, held, takeover)
    body = {"stream_name": wanted.stream, "config": held | settings, "action": "update"}
    try:
        await js_api(client, f"CONSUMER.CREATE.{wanted.stream}.{wanted.durable}", body)
    except ApiError as error:
        raise ConsumeError(f"durable {wanted.durable!r} on {wanted.stream} cannot be changed: {error}") from error
    return True
