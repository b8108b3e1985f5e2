"""Whether storing works end to end. Stream information does not prove it: a server without quorum still gives it."""

import time
import uuid

from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import Probe
from mts1b_foundation.subjects import OPERATIONS_PROBES_SENT
from mts1b_platform.eventbus import BusClosed, BusError, EventBus

from mts1b_operations.monitor.reading import Reading, Watch


async def probe(bus: EventBus, timeout: float) -> Reading:
    """Store one message and take the time; infinite when it was not stored within ``timeout`` seconds.

    Raises:
        BusClosed: the bus was closed.
    """
    started = time.monotonic()
    try:
        await bus.emit(
            OPERATIONS_PROBES_SENT, Probe(probe_id=f"probe-{uuid.uuid4().hex}", sent_at=utc_now()), deadline=timeout
        )
    except BusClosed:
        raise
    except BusError as error:
        return Reading(Watch.SERVER, "nats", float("inf"), f"a message cannot be stored: {error}")
    took = time.monotonic() - started
    return Reading(Watch.SERVER, "nats", took, f"storing a message took {took * 1000:.1f} ms")
