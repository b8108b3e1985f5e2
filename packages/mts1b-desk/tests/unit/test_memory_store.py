"""State in memory: each event once, events to publish in order, and nothing written that nobody reads."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from mts1b_desk.cores.core import Emit
from mts1b_desk.cores.risk import Risk
from mts1b_desk.settings import DeskSettings, Durability
from mts1b_desk.state.choose import make_store
from mts1b_desk.state.memory import MemoryStore
from mts1b_foundation.risk import OrderApproval
from mts1b_foundation.subjects import RISK_GATE_PASSED
from mts1b_platform.eventbus.errors import AlreadyDone

AT = datetime(2022, 5, 4, tzinfo=UTC)


class Handled:
    """What the store looks at of an event."""

    def __init__(self, key: str) -> None:
        self.key = key

    def once(self, store: Any) -> Any:
        return store.once("durable", self.key)

    async def mark(self, store: Any, tx: Any) -> None:
        await store.mark(tx, "durable", self.key)


def approval(number: int) -> Emit:
    payload = OrderApproval(order_id=f"o{number}", fund_id="a", envelope_version=1, decided_at=AT)
    return Emit(RISK_GATE_PASSED, payload)


@pytest.fixture
def store(tmp_path: Any) -> MemoryStore:
    settings = DeskSettings(session="s", durability=Durability.RELAXED)
    made = make_store("riskengine", "mts1b-riskengine", settings, tmp_path / "nothing")
    assert isinstance(made, MemoryStore)
    assert not (tmp_path / "nothing").exists()
    return made


async def test_an_event_is_handled_once_and_again_when_its_handling_failed(store: MemoryStore):
    event = cast("Any", Handled("e1"))
    with pytest.raises(RuntimeError):
        async with store.once(event):
            raise RuntimeError
    async with store.once(event):
        pass
    with pytest.raises(AlreadyDone):
        async with store.once(event):
            pass


async def test_events_that_are_handled_together_are_each_handled_once(store: MemoryStore):
    first, second = (cast("Any", Handled(key)) for key in ("e1", "e2"))
    async with store.once(first) as tx:
        await store.mark(tx, second)
        with pytest.raises(AlreadyDone):
            await store.mark(tx, second)
    with pytest.raises(AlreadyDone):
        async with store.once(second):
            pass


async def test_events_to_publish_wait_in_order_until_they_are_removed(store: MemoryStore):
    async with store.transaction() as tx:
        await store.write(tx, (), [(approval(1), None), (approval(2), "t" * 32)])
    await store.write(None, (), [(approval(3), None)])
    assert await store.backlog() == 3
    rows = await store.waiting.pending(2)
    assert [row.msg_id for row in rows] == ["o1:gate", "o2:gate"]
    await store.waiting.remove(rows)
    await store.waiting.failed((await store.waiting.pending(1))[0], "full", park=True)
    assert await store.backlog() == 0


def test_what_changed_is_forgotten_without_being_written():
    core = Risk(DeskSettings(session="s"))
    core.note_no_changes()
    core.start()
    assert core.changes() == []
