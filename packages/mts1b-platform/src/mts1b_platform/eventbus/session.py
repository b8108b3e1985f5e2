"""What becomes of a connection that the server ends for reasons of identity.

nats-py closes for good when it is told so while connected. But a token that ended may have been renewed in its file,
and a server that has read its configuration anew ends every session of a person, who may well come back. So the
connection is made again, with certificate and token as they are now; it is closed, with the reason in
``bus.ending``, when the token has ended and nobody has renewed it.
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# reason: nats-py offers no way to come back from this.

import asyncio
from typing import TYPE_CHECKING, Final

import nats.errors

from mts1b_platform.config import ConfigError
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.connection.client import BusClient

log = get_logger("mts1b.eventbus.session")

_IDENTITY_ENDED: Final = ("authentication expired", "authentication revoked", "authorization violation")
RECONNECT_WAIT: Final = 0.1
"""Seconds between attempts to reach a server that is away."""
_LONGEST_WAIT: Final = 5.0
_closing: set[asyncio.Task[None]] = set()


def survive_endings(bus: "BusClient") -> None:
    """Have the bus come back when the server ends its session; called once, before it connects."""
    give_up = bus._process_err

    async def process_err(err_msg: str) -> None:
        if bus.is_connected and any(ending in err_msg for ending in _IDENTITY_ENDED):
            log.warning("the server ended this session", identity=bus.identity.name, reason=err_msg.strip("'"))
            await bus._process_op_err(nats.errors.AuthorizationError())
        else:
            await give_up(err_msg)

    bus._process_err = process_err
    attempt_reconnect = bus._attempt_reconnect

    async def attempt_reconnect_at_once() -> None:
        # nats-py takes leave of the old server first. Over a link that broke nobody answers, and TLS would wait for
        # that answer for half a minute before another server is tried.
        writer = getattr(bus._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        await attempt_reconnect()

    bus._attempt_reconnect = attempt_reconnect_at_once
    shake_hands = bus._process_connect_init

    async def shake_hands_or_hang_up() -> None:
        try:
            await shake_hands()
        except BaseException:
            # A TLS handshake takes the socket from the writer that nats-py holds. When it fails, that writer never
            # hears that the socket is closed, and closing would wait for it for ever.
            transport = bus._transport
            writer = getattr(transport, "_io_writer", None)
            if writer is not None and writer is getattr(transport, "_bare_io_writer", None):
                writer.transport.abort()
                setattr(transport, "_io_writer", None)  # noqa: B010 - not a websocket's, which has none
            raise

    bus._process_connect_init = shake_hands_or_hang_up


def reconsider(bus: "BusClient", *, refused: bool = False) -> None:
    """Between two connections: take certificate and token as they are now; end when the token has ended.

    Args:
        bus: the bus that is not connected.
        refused: whether the server has just refused the identity.
    """
    try:
        bus.identity.refresh()
    except ConfigError as error:
        log.warning("the certificate cannot be renewed; the one before is presented", error=str(error))
    if refused:  # it will not change its mind within a tenth of a second
        bus.options["reconnect_time_wait"] = min(
            _LONGEST_WAIT, 2 * bus.options.get("reconnect_time_wait", RECONNECT_WAIT)
        )
    ended = bus.identity.expired()
    if ended is not None and not bus.is_closed and (bus.is_reconnecting or refused) and bus.ending is None:
        bus.ending = ended
        log.error("the session is over", error=str(ended))
        task = asyncio.create_task(bus.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)
