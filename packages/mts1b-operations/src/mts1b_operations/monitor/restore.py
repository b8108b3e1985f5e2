"""The alerts that were in force when the monitor last ended: read back from the stream, newest first.

A restarted monitor goes on with them, so that what is still wrong is not raised twice and what is over is cleared.
"""

from mts1b_foundation.operations import Alert
from mts1b_foundation.subjects import OPERATIONS_ALERTS_RAISED
from mts1b_platform.eventbus import EventBus, JetStreamUnavailable
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.durables import stream_of
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.logs import get_logger
from pydantic import ValidationError

log = get_logger("mts1b.monitor")

_MOST = 2_000
"""Messages that are looked at; what is older and in force is raised again."""


async def alerts_in_force(bus: EventBus) -> list[Alert]:
    """Alerts raised and not cleared; none when the stream cannot be read."""
    try:
        stream = await stream_of(bus, [OPERATIONS_ALERTS_RAISED])
        state = (await js_api(bus, f"STREAM.INFO.{stream}"))["state"]
        return await _read(bus, stream, int(state["first_seq"]), int(state["last_seq"]))
    except (ApiError, JetStreamUnavailable) as error:
        log.warning("alerts of before are not known; what is wrong is raised again", error=str(error))
        return []


async def _read(bus: EventBus, stream: str, first: int, last: int) -> list[Alert]:
    found: dict[str, Alert] = {}
    for seq in range(last, max(first, last - _MOST + 1) - 1, -1):
        if (message := await read_stored(bus, stream, seq=seq)) is None:
            continue  # deleted
        try:
            alert = Alert.model_validate_json(message.wire.payload)
        except ValidationError:
            continue  # not an alert
        found.setdefault(alert.alert_id, alert)  # the newest word about an alert counts
    return [alert for alert in found.values() if alert.cleared_at is None]
