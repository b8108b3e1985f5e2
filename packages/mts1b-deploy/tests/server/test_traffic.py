"""What streams took while services changed: what is gone, and what is there twice, on a real server."""

from datetime import timedelta

from mts1b_deploy.services.traffic import marks_now, traffic_since
from mts1b_foundation.samples import FILL, ORDER
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.eventbus.jetstream.api import js_api


async def last_of(bus: EventBus, stream: str) -> int:
    return int((await js_api(bus, f"STREAM.INFO.{stream}"))["state"]["last_seq"])


async def test_what_is_gone_and_what_is_there_twice_is_counted_by_stream(bus: EventBus):
    await apply_streams(bus)
    for number in range(3):
        await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": f"fill-{number}"}))
    marks = await marks_now(bus)
    assert not any(name.startswith("KV_") for name in marks)
    assert await traffic_since(bus, marks) == await traffic_since(bus, {**marks, "GONE": 7})
    assert (await traffic_since(bus, marks)).good

    for number in range(3, 6):
        await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": f"fill-{number}"}))
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    quiet = await traffic_since(bus, marks)
    assert (quiet.stored, quiet.good) == (4, True)

    await js_api(bus, "STREAM.MSG.DELETE.OMS_FILLS", {"seq": 5})
    config = (await js_api(bus, "STREAM.INFO.OMS_FILLS"))["config"]
    window = int(timedelta(milliseconds=100) / timedelta(microseconds=1)) * 1000  # the least that the server takes
    await js_api(bus, "STREAM.UPDATE.OMS_FILLS", config | {"duplicate_window": window})
    before = await last_of(bus, "OMS_FILLS")
    while await last_of(bus, "OMS_FILLS") == before:  # until the server has forgotten the id
        await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": "fill-1"}))
    bad = await traffic_since(bus, marks)
    assert (bad.stored, bad.lost, bad.doubled, bad.good) == (5, {"OMS_FILLS": 1}, {"OMS_FILLS": 1}, False)
