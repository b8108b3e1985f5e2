"""Repos of others are services like ours: their streams, durables, dead letters and readiness, on a locked-down bus."""

from pathlib import Path
from typing import Any

import pytest
from locked_server import SPEC_READER, Locked, started
from mts1b_foundation.event import utc_now
from mts1b_foundation.subjects import DurableSubject, deadletters_of
from mts1b_operations.deadletters.letters import letters
from mts1b_platform.eventbus import EventBus, Reject, apply_streams, connect
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.service.health import stores_end_to_end
from mts1b_platform.testing import ConnectBus, StartNatsServer

BELLS = Path(__file__).parents[1] / "registry" / "bells-repo"


def rung() -> DurableSubject[Any]:
    """The subject of the checkout."""
    (subject,) = (each for source in declared((BELLS,)).sources if source.root == BELLS for each in source.subjects)
    assert isinstance(subject, DurableSubject)
    return subject


async def ring(bus: EventBus) -> None:
    await bus.emit(rung(), rung().payload(ring_id="1", bell="great", rung_at=utc_now()))


async def give_up(bus: EventBus) -> None:
    async with bus.consume(rung(), durable="sexton") as rings, await anext(rings):
        raise Reject("nobody was to ring")


async def test_a_contributed_repo_and_a_reader_without_subjects_of_its_own_work_on_a_locked_down_bus(tmp_path: Path):
    async with started(Locked(tmp_path, checkouts=(SPEC_READER, BELLS))) as locked:
        bells, belfry = await locked.bus("mts1b-bells"), await locked.bus("mts1b-belfry")
        assert [await stores_end_to_end(bus) for bus in (bells, belfry)] == [None, None]
        await ring(bells)
        await give_up(belfry)
        operations = await locked.bus("mts1b-operations")
        [letter] = await letters(operations)
        assert (letter.letter.consumer, letter.letter.error) == ("sexton", "nobody was to ring")
        left = await js_api(operations, "CONSUMER.INFO.BELLS.sexton")
        assert (left["num_pending"], left["num_ack_pending"]) == (0, 0)  # it does not come back


async def test_a_reader_is_ready_only_when_its_dead_letters_would_be_stored(connect_bus: ConnectBus):
    bus = await connect_bus(service="mts1b-belfry")
    assert "no stream answers on mts.v1.belfry.deadletters.created" in str(await stores_end_to_end(bus))
    await apply_streams(bus)
    assert await stores_end_to_end(bus) is None


async def test_a_reader_is_not_ready_without_jetstream(start_nats_server: StartNatsServer):
    server = start_nats_server(jetstream=False)
    async with await connect(server.url, service="mts1b-belfry") as bus:
        assert "JetStream is off" in str(await stores_end_to_end(bus))


@pytest.mark.parametrize(
    ("repo", "subject"),
    [
        ("mts1b-riskengine", "mts.v1.risk.deadletters.created"),
        ("mts1b-fill-audit", "mts.v1.fill_audit.deadletters.created"),
        ("Acme.Alerts", "mts.v1.acme_alerts.deadletters.created"),
    ],
)
def test_every_service_has_a_subject_for_its_dead_letters(repo: str, subject: str):
    assert deadletters_of(repo).pattern == subject
