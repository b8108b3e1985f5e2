"""With metrics and traces on, all of an event is served by the compiled core; what is not, the log says."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mts1b_platform.eventbus.core import CORE, at_work
from mts1b_platform.eventbus.hooks import Chain, Hooks
from mts1b_platform.eventbus.in_python import called_in_python
from mts1b_platform.observability.audit import AuditHook
from mts1b_platform.observability.metrics import Timings
from mts1b_platform.observability.tracing import Tracing, provider_for
from mts1b_platform.server import NatsServer

pytestmark = pytest.mark.skipif(CORE is None, reason="of the compiled core")

WAIT = 60.0
SERVICE = """
import asyncio

from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.logs import configure_logging
from mts1b_platform.observability import observe

async def main():
    async with (
        await connect(service="mts1b-oms") as oms,
        await connect(service="mts1b-marketdata") as marketdata,
        observe(oms),
        observe(marketdata),
    ):
        await apply_streams(oms)
        await oms.emit_many(OMS_ORDERS_CREATED, [ORDER, ORDER.model_copy(update={"idempotency_key": "second"})])
        async with oms.listen(MARKETDATA_QUOTES) as quotes, oms.consume(OMS_ORDERS_CREATED, durable="t") as orders:
            for _ in range(2):
                await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
            await nothing_is_called_of_the_second(quotes)
            await nothing_is_called_of_the_second(orders)

async def nothing_is_called_of_the_second(events):
    # by the first one of a subject it is learnt how its messages begin
    number = 0
    async for event in events:
        async with event:
            number += 1
        if number == 2:
            assert event.hooks is None, event.hooks
            break

configure_logging(style="json")
asyncio.run(main())
"""


async def said(nats_server: NatsServer, **settings: str) -> list[dict[str, Any]]:
    """What a process that is configured so says of its hot path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MTS1B_CORE", "MTS1B_PURE")}
    environment |= {
        "MTS1B_NATS_URL": nats_server.url,
        "MTS1B_OTLP_ENDPOINT": "http://127.0.0.1:9/v1/traces",  # nothing is recorded, hence nothing sent
        "MTS1B_TRACE_RATIO": "0",
        "MTS1B_METRICS_PORT": "0",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE), stderr=asyncio.subprocess.PIPE, env=environment
    )
    _, lines = await asyncio.wait_for(process.communicate(), WAIT)
    assert process.returncode == 0, lines.decode()
    return [line for line in map(json.loads, lines.splitlines()) if line["event"] == "hot path"]


async def test_a_process_with_metrics_and_traces_is_on_the_compiled_path(nats_server: NatsServer):
    (line,) = await said(nats_server)
    assert line["at_work"] == at_work()
    assert "in_python" not in line


async def test_a_process_with_an_audit_log_says_what_that_keeps_from_the_compiled_path(
    nats_server: NatsServer, tmp_path: Path
):
    (line,) = await said(nats_server, MTS1B_AUDIT_DIR=str(tmp_path))
    assert line["at_work"] == at_work()
    assert line["in_python"] == "publishes of many: Tracing, AuditHook"


class Everything(Timings):
    """Wants to be told of all events."""

    best_effort = handlers = one_by_one = True

    def __init__(self) -> None:
        super().__init__()
        del self.settled


def tracing() -> Tracing:
    return Tracing(provider_for("x"))


def audit() -> AuditHook:
    unused: Any = None
    return AuditHook(unused)


@pytest.mark.parametrize(
    ("hooks", "called"),
    [
        ([], []),
        ([Timings], []),
        ([tracing], []),
        ([Timings, tracing], []),
        ([audit], ["publishes of many: AuditHook"]),
        ([tracing, audit, Timings], ["publishes of many: Tracing, AuditHook"]),
        (
            [Everything],
            [
                *("best-effort publishes: Everything", "publishes of many: Everything"),
                *("handlers: Everything", "decisions: Everything"),
            ],
        ),
    ],
)
def test_hooks_that_are_called_in_python_are_named(hooks: list[Any], called: list[str]):
    made: list[Hooks] = [make() for make in hooks]
    assert called_in_python(made[0] if len(made) == 1 else Chain(made) if made else None) == called
