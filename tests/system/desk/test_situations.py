"""Seven things that go wrong on an installed, locked-down bus with a desk on it, each seen by one command."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from mts1b_foundation.orders import OrderType
from mts1b_foundation.samples import FILL_V2, ORDER_V2
from mts1b_foundation.subjects import OMS_FILLS_CREATED_V2, OMS_ORDERS_ACCEPTED_V2, OMS_ORDERS_CREATED_V2
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, Reject, connect

from ..chaos_desk.installed import installed  # noqa: TID252 - tests are in no package that could be named
from .conftest import PATIENCE, make_quotes


@dataclass(frozen=True, slots=True)
class Said:
    """What one command has said."""

    code: int
    out: str
    err: str


class Terminal:
    """Somebody who types commands on the host of the operations."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *words: str) -> Said:
        """One command."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(run, list(words))
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)


async def desk_trades_and_is_halted(config: Path, home: Path, terminal: Terminal) -> Said:
    """A session of the desk; in the middle all funds are halted by one command, and go on."""
    environment = {**os.environ, "MTS1B_CONFIG": str(config), "TMPDIR": str(home)}
    environment.pop("MTS1B_SERVICE", None)
    data = make_quotes(home)
    desk = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mts1b_desk", "run", "--data", str(data), "--speed", "8", "--json",
        "--fund", "alpha", "--start-within", str(PATIENCE),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment, cwd=home,
    )  # fmt: skip
    ending = asyncio.create_task(desk.communicate())
    try:
        async with asyncio.timeout(PATIENCE), await connect(config=config, service="mts1b-operations") as bus:
            async for _ in bus.listen(OMS_ORDERS_CREATED_V2):
                break
        halted = await terminal("halt", "request", "--all", "--reason", "prices look wrong", "--wait", "30")
        halt = json.loads((await terminal("halt", "ls", "--json")).out)[0]["halt"]
        await terminal("halt", "clear", halt, "--reason", "prices checked")
        out, err = await ending
        assert desk.returncode == 0, err.decode()
        assert json.loads(out)["reconciled"] is True
    finally:
        if desk.returncode is None:
            desk.kill()
            await desk.wait()
    return halted


async def trouble(oms: EventBus, treasury: EventBus) -> None:
    """The desk is gone; an order is left behind, a fill is more than somebody can bear, and a release is too new."""
    order = ORDER_V2.model_copy(update={"order_type": OrderType.MARKET, "limit_price": None})
    await oms.emit(OMS_ORDERS_CREATED_V2, order)
    await oms.emit(OMS_ORDERS_ACCEPTED_V2, order.accept(order.created_at))
    await oms.emit(OMS_FILLS_CREATED_V2, FILL_V2)
    async with treasury.consume(
        OMS_FILLS_CREATED_V2, durable="desk-treasury-fills", ordered_by="order_id", instances="standby"
    ) as fills:
        async with asyncio.timeout(60):
            event = await anext(fills)
        async with event:
            raise Reject("division by zero")
    headers = {"mts-schema": "mts1b_foundation.orders.OrderV2:v9", "mts-source-repo": "mts1b-oms"}
    await oms.request("mts.v2.oms.orders.rejected", b"{}", timeout=PATIENCE, headers=headers)


@pytest.mark.slow(seconds=20)
async def test_seven_situations_are_one_command_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    terminal = Terminal(capsys)
    async with installed(tmp_path / "bus") as bus:
        config = bus.layout.config
        monkeypatch.setenv("MTS1B_CONFIG", str(config))
        monkeypatch.setenv("MTS1B_SERVICE", "mts1b-operations")
        halted = await desk_trades_and_is_halted(config, tmp_path, terminal)
        assert halted.code == 0
        assert "mts1b-oms obeyed after" in halted.out
        async with (
            await connect(config=config, service="mts1b-oms") as oms,
            await connect(config=config, service="mts1b-treasury") as treasury,
        ):
            await trouble(oms, treasury)

        stuck = await terminal("order", ORDER_V2.order_id)
        missing = {0: "not there yet: a fill or a cancel", 3: "MISSING: a fill or a cancel"}  # after a while
        assert missing[stuck.code] in stuck.out
        assert "owes it  mts1b-brokers: desk-brokers-orders has reached" in stuck.out
        assert "start mts1b-brokers" in stuck.out
        assert "treasury GAVE UP" in stuck.out
        assert "desk-treasury-fills gave the event up after 1 deliveries: division by zero" in stuck.out

        poison = await terminal("deadletters", "ls", "--json")
        assert [(row["reason"], row["error"]) for row in json.loads(poison.out)] == [("rejected", "division by zero")]

        slow = await terminal("lag", "--json")
        behind = {row["consumer"]: row for row in json.loads(slow.out) if row["messages"]}
        assert set(behind) == {"desk-brokers-orders", "desk-riskengine-orders"}
        assert all(row["lag_seconds"] > 0 and row["reading"] == "nobody" for row in behind.values())

        discarding = await terminal("check", "limits", "--format", "json")
        assert discarding.code == 0
        assert "OMS_ORDERS/desk-brokers-orders" in discarding.out

        certificate = await terminal("check", "certificates", str(bus.layout.pki / "mts1b-oms.pem"), "--warning", "31")
        assert certificate.code == 1
        assert "mts1b-oms.pem" in certificate.out

        mismatch = await terminal("events", "find", "refused:yes")
        assert mismatch.code == 0
        assert "REFUSED schema_mismatch" in mismatch.out
        assert "OrderV2:v9', expected mts1b_foundation.orders.Order:v2" in mismatch.out
