"""The fixtures with which other repos test their services."""

import asyncio
import os
from pathlib import Path

import pytest
from mts1b_foundation.fills import Fill
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import FILL, ORDER
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, NoStream, RetryPolicy
from mts1b_platform.service import DRAINED, Service
from mts1b_platform.testing import Publish, RunService, SpawnService

QUICK = RetryPolicy(max_deliveries=2, base=0.02, jitter=0)

PROGRAM = """
import asyncio
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_platform.service import Service

service = Service("mts1b-treasury")

@service.consumes(OMS_FILLS_CREATED, durable="treasury", ack_wait=1.0)
async def book(event):
    print("begun", event.payload.fill_id, "delivery", event.deliveries, flush=True)
    if event.deliveries == 1 and event.payload.fill_id == "fill-1":
        await asyncio.Event().wait()

broken = Service("mts1b-treasury")

@broken.on_start
async def fail():
    raise ZeroDivisionError("no books")
"""


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a service, which processes find too."""
    folder = tmp_path / "lib"
    folder.mkdir()
    name = f"books_of_{tmp_path.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return name


def counting(failing: int = 0) -> tuple[Service, list[str]]:
    """A service of which the first tries of ``fill-1`` fail."""
    service, tries = Service("mts1b-treasury"), list[str]()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury", policy=QUICK)
    async def book(event: Event[Fill]) -> None:
        tries.append(event.payload.fill_id)
        if event.payload.fill_id == "fill-1" and tries.count("fill-1") <= failing:
            raise ZeroDivisionError("no price")

    return service, tries


def fill(number: int) -> Fill:
    return FILL.model_copy(update={"fill_id": f"fill-{number}"})


async def test_settled_waits_for_retries_and_for_all_that_is_stored(run_service: RunService, publish: Publish):
    service, tries = counting(failing=1)
    running = await run_service(service)
    for number in range(5):
        await publish(OMS_FILLS_CREATED, fill(number))
    await running.settled()
    assert sorted(tries) == ["fill-0", "fill-1", "fill-1", "fill-2", "fill-3", "fill-4"]
    assert await running.published(OMS_FILLS_CREATED) == [fill(number) for number in range(5)]
    assert await running.dead_letters() == []


async def test_what_the_service_gave_up_on_is_shown(run_service: RunService, publish: Publish):
    service, tries = counting(failing=2)
    running = await run_service(service)
    await publish(OMS_FILLS_CREATED, fill(1))
    await running.settled()
    (letter,) = await running.dead_letters()
    assert "no price" in letter.error
    assert (letter.consumer, letter.deliveries, len(tries)) == ("treasury", 2, 2)


async def test_settled_says_what_is_left_when_it_takes_too_long(run_service: RunService, publish: Publish):
    service, go_on = Service("mts1b-treasury"), asyncio.Event()

    @service.consumes(OMS_ORDERS_CREATED, durable="treasury")
    async def book(event: Event[Order]) -> None:  # noqa: ARG001 - it waits whatever it gets
        await go_on.wait()

    running = await run_service(service)
    await publish(OMS_ORDERS_CREATED, ORDER)
    with pytest.raises(TimeoutError, match=r"treasury: (1 not delivered, 0|0 not delivered, 1) not acknowledged"):
        await running.settled(within=0.3)
    go_on.set()
    await running.settled()


async def test_a_service_is_ended_and_started_again(run_service: RunService, publish: Publish):
    service, tries = counting()
    running = await run_service(service)
    assert await running.stop() == DRAINED
    await publish(OMS_FILLS_CREATED, fill(1))
    assert tries == []
    await running.start()
    await running.settled()
    await running.restart()
    await publish(OMS_FILLS_CREATED, fill(2))
    await running.settled()
    assert tries == ["fill-1", "fill-2"]


async def test_a_service_that_cannot_start_fails_the_test_with_its_reason(
    run_service: RunService, spawn_service: SpawnService, books: str
):
    service = Service("mts1b-treasury")

    @service.on_start
    async def fail() -> None:
        raise NoStream("there is no stream")

    with pytest.raises(NoStream, match="there is no stream"):
        await run_service(service)
    with pytest.raises(RuntimeError, match=r"(?s)ended with 1:.*no books"):
        await spawn_service(f"{books}:broken")


@pytest.mark.slow(seconds=4)
async def test_a_process_is_killed_at_work_and_started_again(spawn_service: SpawnService, publish: Publish, books: str):
    running = await spawn_service(f"{books}:service")
    await publish(OMS_FILLS_CREATED, fill(1))
    async with asyncio.timeout(60):
        while "begun fill-1 delivery 1" not in running.log():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
    await running.kill()
    await running.start()
    await running.settled(within=60)
    assert "begun fill-1 delivery 2" in running.log()
    running.freeze()
    await publish(OMS_FILLS_CREATED, fill(2))
    running.thaw()
    await running.stop()
    assert '"event": "drained"' in running.log()


async def test_the_users_own_settings_are_left_out(
    run_service: RunService, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "mts1b.toml").write_text('[nats]\nservers = ["nats://127.0.0.1:9"]\n')
    service, tries = counting()
    running = await run_service(service)
    await publish(OMS_FILLS_CREATED, fill(1))
    await running.settled()
    assert tries == ["fill-1"]
