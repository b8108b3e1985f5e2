"""What an error means for the publisher: raise this, or send again and why. The only place that knows."""

from typing import Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    InvalidHeader,
    JetStreamUnavailable,
    NoStream,
    PayloadTooLarge,
    PublishError,
    WrongEventLoop,
)
from mts1b_platform.eventbus.events.outgoing import Outgoing
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api, no_jetstream
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.puback import NoStreamResponse, PublishFailed, PublishRefused

_TRANSIENT_CODES: Final = frozenset({503, 408})
_TRANSIENT_ERRORS: Final = frozenset(
    {ErrorCode.STREAM_DUPLICATE_MESSAGE_CONFLICT, ErrorCode.ATOMIC_PUBLISH_INCOMPLETE_BATCH}
)


def publish_error(client: BusClient, name: str, size: int, error: BusError | HeaderError) -> BusError:
    """What an error of the connection or of a header means for the publisher of ``size`` bytes on ``name``."""
    if isinstance(error, HeaderError):
        return InvalidHeader(f"{name}: {error}")
    if isinstance(error, PayloadTooLarge):
        return PayloadTooLarge(
            f"{name}: the event has {size} bytes, the server takes {client.max_payload} with its "
            "headers; send a reference to the data instead, or raise max_payload on the server"
        )
    if isinstance(error, BusClosed):
        return BusClosed(f"{name}: the bus is closed; the event may not have been stored")
    if isinstance(error, WrongEventLoop):
        return WrongEventLoop(f"{name}: {error}")
    return error


async def reason_to_retry(client: BusClient, out: Outgoing, error: PublishFailed) -> str:
    """Why to try again after ``error``; raises when that cannot help."""
    if isinstance(error, NoStreamResponse):
        await _explain_no_stream(client, out)
        client.connection.unanswered(out.subject)
        return "no stream leader answers"
    if is_final(error):
        client.counters.publish_failed[out.pattern] += 1
        raise PublishError(f"{out.subject}: JetStream did not store the event {out.msg_id!r}: {words(error)}") from None
    return str(error)


def is_final(error: PublishFailed) -> bool:
    """Whether the stream refused what was published, and would again."""
    return (
        isinstance(error, PublishRefused)
        and error.code not in _TRANSIENT_CODES
        and error.err_code not in _TRANSIENT_ERRORS
    )


def words(error: PublishFailed) -> str:
    """What the server said."""
    return f"{error.description} (error {error.err_code})" if isinstance(error, PublishRefused) else str(error)


async def _explain_no_stream(client: BusClient, out: Outgoing) -> None:
    """Raise when retrying cannot help: no JetStream at all, or no stream that stores the subject."""
    if not client.has_jetstream:
        client.counters.publish_failed[out.pattern] += 1
        raise JetStreamUnavailable(f"{out.subject}: {no_jetstream(client)}")
    try:
        names = await js_api(client, "STREAM.NAMES", {"subject": out.subject}, timeout=1)
    except (JetStreamUnavailable, ApiError):
        return  # JetStream is on its way up or down: retry
    if not names.get("streams"):
        client.counters.publish_failed[out.pattern] += 1
        raise NoStream(
            f"{out.subject}: no stream stores this subject, so the event was not stored. Create the streams with "
            "`mts1b streams apply`"
        )
