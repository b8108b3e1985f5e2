"""The monitor on a real server: what it sees, whom it tells, and that it goes on whatever fails."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from http_listener import Outside
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, OPERATIONS_ALERTS_CLEARED, OPERATIONS_ALERTS_RAISED
from mts1b_operations.monitor import Monitor, MonitorSettings
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.settings import Threshold
from mts1b_operations.monitor.sinks import http
from mts1b_platform.cli import run
from mts1b_platform.eventbus import STREAMS, EventBus, RetryPolicy, apply_streams
from mts1b_platform.observability import Observed, observe
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from prometheus_client import generate_latest

LATE = Threshold(critical=300, clear=100, clear_hold=0, unit="s")
QUICK = {
    Watch.SLOW_CONSUMER: LATE,
    Watch.SERVER: Threshold(critical=20, clear=10, clear_hold=0, unit="s"),
}
"""No slow machine is taken for a slow consumer or a server that does not store."""


class Receiver(Outside):
    """An HTTP endpoint that remembers what was posted to it."""

    @property
    def posted(self) -> list[tuple[str, Any]]:
        return [(request.path, json.loads(request.body)) for request in self.requests]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(http, "TIMEOUT", 60.0)
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
async def operations(bus: EventBus, connect_bus: ConnectBus) -> EventBus:
    await apply_streams(bus)
    return await connect_bus("mts1b-operations")


def settings(*, lag: Threshold = LATE, probe_timeout: float = 30.0, **options: Any) -> MonitorSettings:
    thresholds = {**QUICK, Watch.SLOW_CONSUMER: lag}
    return MonitorSettings(thresholds=thresholds, probe_timeout=probe_timeout, **options)


async def test_a_slow_consumer_raises_on_the_bus_and_clears_by_itself_after_catching_up(
    bus: EventBus, operations: EventBus
):
    lag = Threshold(critical=1, clear=0.5, clear_hold=0, unit="s")
    monitor = Monitor(operations, settings(lag=lag))
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t")
    await orders.start()
    assert await monitor.look() == []
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await asyncio.sleep(1.1)  # the passing of time is what is watched
    (raised,) = await monitor.look()
    async with await anext(orders):
        pass
    await bus.flush()
    (cleared,) = await monitor.look()
    await orders.stop()
    assert (raised.name, raised.target) == ("slow_consumer", "OMS_ORDERS/t")
    assert cleared.alert_id == raised.alert_id
    async with bus.consume(OPERATIONS_ALERTS_RAISED, OPERATIONS_ALERTS_CLEARED, durable="pager") as pager:
        async with await anext(pager) as first:
            assert first.payload == raised
        async with await anext(pager) as second:
            assert second.payload == cleared


async def test_a_dead_letter_is_an_alert_until_its_window_has_passed(bus: EventBus, operations: EventBus):
    monitor = Monitor(operations, settings(deadletter_window=0.5))
    await monitor.look()
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", policy=RetryPolicy(max_deliveries=1))
    async with orders, await anext(orders):
        raise ValueError("poison")
    (raised,) = await monitor.look()
    assert (raised.name, raised.value) == ("dead_letters", 1.0)
    await asyncio.sleep(0.6)  # the window passes
    (cleared,) = await monitor.look()
    assert cleared.cleared_at is not None


async def test_a_stream_about_to_discard_what_is_unread_is_an_alert(bus: EventBus, operations: EventBus):
    js = bus.plain_jetstream()
    await js.add_stream(name="SMALL", subjects=["small.*"], max_msgs=10)
    await js.add_consumer("SMALL", durable_name="reader", ack_policy="explicit")
    monitor = Monitor(operations, settings())
    for number in range(5):
        await js.publish(f"small.{number}")
    assert await monitor.look() == []
    for number in range(3):
        await js.publish(f"small.{number}")
    (warning,) = await monitor.look()
    assert (warning.name, warning.target, warning.severity.value) == ("discard_risk", "SMALL/reader", "warning")
    assert "max_msgs" in warning.summary
    for number in range(2):
        await js.publish(f"small.{number}")
    (critical,) = await monitor.look()
    assert critical.severity.value == "critical"


async def test_one_full_subject_is_a_risk_to_its_reader_only(bus: EventBus, operations: EventBus):
    js = bus.plain_jetstream()
    await js.add_stream(name="KEYED", subjects=["keyed.*"], max_msgs_per_subject=4)
    await js.add_consumer("KEYED", durable_name="hot", ack_policy="explicit", filter_subject="keyed.hot")
    await js.add_consumer("KEYED", durable_name="cold", ack_policy="explicit", filter_subject="keyed.cold")
    for _ in range(4):
        await js.publish("keyed.hot")
    await js.publish("keyed.cold")
    changes = await Monitor(operations, settings()).look()
    assert [(alert.target, alert.value) for alert in changes] == [("KEYED/hot", 1.0)]


async def test_a_missing_stream_and_a_vanished_durable_are_alerts(bus: EventBus, operations: EventBus):
    monitor = Monitor(operations, settings(expected_consumers=("OMS_FILLS/treasury",)))
    async with bus.consume(OMS_ORDERS_CREATED, durable="t"):
        (never_there,) = await monitor.look()
    assert (never_there.name, never_there.target) == ("consumer_missing", "OMS_FILLS/treasury")
    await bus.plain_jetstream().delete_consumer("OMS_ORDERS", "t")
    await bus.plain_jetstream().delete_stream("RISK")
    found = {(alert.name, alert.target) for alert in await monitor.look()}
    assert found == {("consumer_missing", "OMS_ORDERS/t"), ("stream_missing", "RISK")}
    await apply_streams(bus)
    (cleared,) = await monitor.look()
    assert (cleared.target, cleared.cleared_at is not None) == ("RISK", True)


def certificate(path: Path, days: float) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mts1b-oms")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_an_expiring_or_unreadable_certificate_is_an_alert(operations: EventBus, tmp_path: Path):
    good, soon = certificate(tmp_path / "good.pem", 100), certificate(tmp_path / "soon.pem", 5)
    monitor = Monitor(operations, settings(certificates=(good, soon, tmp_path / "none.pem")))
    found = {Path(alert.target).name: alert.severity.value for alert in await monitor.look()}
    assert found == {"soon.pem": "warning", "none.pem": "critical"}


async def test_a_server_that_does_not_store_is_noticed_though_it_still_talks(
    operations: EventBus, bus: EventBus, receiver: Receiver
):
    monitor = Monitor(operations, settings(webhook=receiver.url, expected_streams=()))
    await bus.plain_jetstream().delete_stream("OPERATIONS_PROBES")
    (raised,) = await monitor.look()
    assert (raised.name, raised.severity.value) == ("server_health", "critical")
    assert receiver.posted[0][1]["status"] == "raised"


async def test_a_server_that_died_is_told_to_the_webhook_and_later_to_the_bus(
    operations: EventBus, bus: EventBus, nats_server: NatsServer, receiver: Receiver
):
    monitor = Monitor(operations, settings(webhook=receiver.url))
    assert await monitor.look() == []
    monitor.settings = settings(webhook=receiver.url, probe_timeout=1.0)
    nats_server.kill()
    (raised,) = await monitor.look()
    assert raised.name == "server_health"
    assert [document["alert_id"] for _, document in receiver.posted] == [raised.alert_id]
    await nats_server.restart()
    assert await operations.wait_connected(60)
    while not (changes := await monitor.look()):
        pass
    assert changes[0].alert_id == raised.alert_id
    async with bus.consume(OPERATIONS_ALERTS_RAISED, durable="pager") as pager, await anext(pager) as event:
        assert event.payload.alert_id == raised.alert_id


async def test_a_sink_that_failed_is_told_again(operations: EventBus, bus: EventBus, receiver: Receiver):
    monitor = Monitor(operations, settings(webhook=f"{receiver.url}/hook"))
    await monitor.look()
    await bus.plain_jetstream().delete_stream("RISK")
    receiver.status = 500
    (raised,) = await monitor.look()
    assert receiver.posted == []
    receiver.status = 200
    await monitor.look()
    assert [(path, document["alert_id"]) for path, document in receiver.posted] == [("/hook", raised.alert_id)]


async def test_alertmanager_is_told_at_every_look_and_of_the_end(
    operations: EventBus, bus: EventBus, receiver: Receiver
):
    monitor = Monitor(operations, settings(alertmanager=receiver.url))
    await bus.plain_jetstream().delete_stream("RISK")
    await monitor.look()
    await monitor.look()
    await apply_streams(bus)
    await monitor.look()
    assert [path for path, _ in receiver.posted] == ["/api/v2/alerts"] * 3
    first, second, last = (document[0] for _, document in receiver.posted)
    assert first["labels"] == second["labels"] == last["labels"]
    assert first["labels"]["alertname"] == "mts1b_stream_missing"
    assert first["annotations"]["runbook_url"].endswith("docs/runbook.md#stream_missing")
    now = datetime.now(UTC)
    assert datetime.fromisoformat(second["endsAt"]) > now > datetime.fromisoformat(last["endsAt"])


async def test_a_restarted_monitor_goes_on_with_the_alerts_in_force(operations: EventBus, bus: EventBus):
    js = bus.plain_jetstream()
    await js.delete_stream("RISK")
    await js.delete_stream("TREASURY_NAV")
    before = Monitor(operations, settings())
    raised = {alert.target: alert for alert in await before.look()}
    assert set(raised) == {"RISK", "TREASURY_NAV"}
    await apply_streams(bus, streams=[stream for stream in STREAMS if stream.name == "TREASURY_NAV"])
    await before.look()
    after = Monitor(operations, settings(interval=0.05))
    running = asyncio.create_task(after.run())
    while not after.gauges.looks:  # noqa: ASYNC110 - what is counted has no event
        await asyncio.sleep(0.01)
    assert {alert.alert_id for alert in after.alerts.active} == {raised["RISK"].alert_id}
    await apply_streams(bus)
    while (await js.stream_info("OPERATIONS_ALERTS")).state.last_seq < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert not after.alerts.active
    running.cancel()
    changes = [await js.get_msg("OPERATIONS_ALERTS", seq) for seq in range(1, 5)]
    told = [(str(change.subject).rsplit(".", 1)[1], json.loads(change.data or b"")["target"]) for change in changes]
    assert sorted(told) == [
        ("cleared", "RISK"),
        ("cleared", "TREASURY_NAV"),
        ("raised", "RISK"),
        ("raised", "TREASURY_NAV"),
    ]


async def test_what_the_monitor_sees_is_served_as_metrics(operations: EventBus, bus: EventBus):
    monitor = Monitor(operations, settings())
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await bus.consume(OMS_ORDERS_CREATED, durable="t").start()
    await bus.plain_jetstream().delete_stream("RISK")
    await monitor.look()
    observed: Observed = observe(operations)
    observed.registry.register(monitor.gauges)
    text = generate_latest(observed.registry).decode()
    assert 'nats_consumer_lag_messages{consumer="t",stream="OMS_ORDERS"} 1.0' in text
    assert 'nats_stream_missing{stream="RISK"} 1.0' in text
    assert "nats_probe_ok 1.0" in text
    assert 'nats_alerts_active{alert="stream_missing",severity="critical",target="RISK"} 1.0' in text


@pytest.mark.parametrize("form", ["nagios", "prometheus", "json"])
async def test_checks_answer_in_every_format_with_the_exit_code(
    bus: EventBus,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
):
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await bus.consume(OMS_ORDERS_CREATED, durable="t").start()
    await asyncio.sleep(0.3)  # the lag grows
    for levels, code in (("0.1 99", 1), ("0.05 0.1", 2), ("99 99", 0)):
        warning, critical = levels.split()
        command = ["check", "lag", "--warning", warning, "--critical", critical, "--format", form]
        assert await asyncio.to_thread(run, command) == code
        said = capsys.readouterr().out
        state = ("OK", "WARNING", "CRITICAL")[code]
        if form == "nagios":
            assert said.startswith(f"{state} lag: ")
            assert "'OMS_ORDERS/t'=" in said
        elif form == "prometheus":
            assert f'mts1b_check_state{{check="lag",target="OMS_ORDERS/t"}} {code}.0' in said
        else:
            assert json.loads(said)["state"] == state


async def test_the_other_checks(
    bus: EventBus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", policy=RetryPolicy(max_deliveries=1))

    async def check(*command: str) -> int:
        return await asyncio.to_thread(run, ["check", *command])

    assert await check("deadletters") == 0
    async with orders, await anext(orders):
        raise ValueError("poison")
    assert await check("deadletters") == 1
    assert await check("server", "--warning", "60", "--critical", "60") == 0
    assert await check("limits") == 0
    assert await check("streams") == 0
    assert await check("consumers", "OMS_ORDERS/t") == 0
    await bus.plain_jetstream().delete_stream("RISK")
    assert await check("streams") == 2
    assert await check("consumers", "OMS_ORDERS/nobody") == 2
    assert "OMS_ORDERS/nobody is gone" in capsys.readouterr().out
    nats_server.kill()
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", "3")  # it tries for as long
    assert await check("server") == 3
    assert "UNKNOWN server: no NATS server" in capsys.readouterr().out
