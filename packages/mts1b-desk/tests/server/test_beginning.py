"""Where a session begins in streams that outlive it, and that it refuses one which was restored from before it."""

import pytest
from mts1b_desk.declared import INPUTS
from mts1b_desk.errors import DeskError
from mts1b_desk.services.beginning import check_beginning, find_beginning
from mts1b_foundation.samples import FILL
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.eventbus.jetstream.api import js_api


async def emit(bus: EventBus, *numbers: int) -> None:
    for number in numbers:
        await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": f"fill-{number}"}))


async def test_a_session_is_refused_behind_a_stream_that_was_restored_from_before_it(bus: EventBus):
    await apply_streams(bus)
    await emit(bus, 1, 2, 3)
    begins = (await find_beginning(bus, INPUTS["treasury"])).last
    assert begins["OMS_FILLS"] == 3
    await check_beginning(bus, begins)
    await emit(bus, 4)
    await check_beginning(bus, begins)

    await js_api(bus, "STREAM.DELETE.OMS_FILLS")  # as a restore does, before it stores what the backup has
    await apply_streams(bus)
    await emit(bus, 11, 12)
    with pytest.raises(
        DeskError, match=r"OMS_FILLS ends at 2, and this session began behind 3: .* Begin another session"
    ):
        await check_beginning(bus, begins)
