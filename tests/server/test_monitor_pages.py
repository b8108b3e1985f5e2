"""Who is paged, and how: real requests to a server on this machine, and mail to one that speaks SMTP."""

import asyncio
import json
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from http_listener import Outside
from mts1b_foundation.operations import AlertSeverity
from mts1b_foundation.samples import ALERT
from mts1b_operations.monitor import Monitor, MonitorSettings
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.service import outside
from mts1b_operations.monitor.settings import Threshold
from mts1b_operations.monitor.sinks import Pager, Sink, SinkError
from mts1b_operations.monitor.sinks import http as sinks_http
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

OVER = ALERT.model_copy(update={"cleared_at": datetime(2021, 1, 8, 10, tzinfo=UTC), "summary": "caught up"})
WARNING = ALERT.model_copy(update={"alert_id": "disk_free-2", "severity": AlertSeverity.WARNING})


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    monkeypatch.setattr(sinks_http, "TIMEOUT", 60.0)
    made = Outside()
    yield made
    made.close()


def pager(**settings: object) -> Sink:
    (made,) = outside(MonitorSettings.model_validate({"pagers": [settings]}))
    return made


async def test_ntfy_gets_title_urgency_and_text_with_the_token_of_its_file(internet: Outside, tmp_path: Path):
    (tmp_path / "token").write_text("tk_secret\n")
    ntfy = pager(kind="ntfy", url=f"{internet.url}/desk", token_file=tmp_path / "token")
    await ntfy.tell([ALERT], [ALERT])
    await ntfy.tell([OVER], [])
    first, last = internet.requests
    assert (first.path, first.headers["Title"]) == ("/desk", "CRITICAL: slow_consumer OMS_FILLS/treasury")
    assert (first.headers["Priority"], first.headers["Authorization"]) == ("urgent", "Bearer tk_secret")
    assert "mts1b alerts acknowledge slow_consumer-1f0c" in first.body
    assert "docs/runbook.md#slow_consumer" in first.body
    assert (last.headers["Title"], last.body) == ("OVER: slow_consumer OMS_FILLS/treasury", "caught up")


async def test_a_template_makes_the_requests_of_pushover_and_telegram(
    internet: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "key").write_text("k=1&2")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    pushover = pager(
        kind="webhook",
        url=f"{internet.url}/1/messages.json",
        format="form",
        body={"token": "{key}", "title": "{title}", "message": "{text}", "priority": "{severity}"},
        secret_files={"key": "key"},
        choices={"severity": {"critical": "1", "warning": "0", "cleared": "-1"}},
    )
    telegram = pager(
        kind="webhook",
        url=f"{internet.url}/bot{{key}}/sendMessage",
        body={"chat_id": 4711, "text": "{title}\n{summary}", "options": [{"silent": "{status}"}]},
        secret_files={"key": "key"},
    )
    await pushover.tell([ALERT], [])
    await telegram.tell([ALERT], [])
    form, message = internet.requests
    sent = parse_qs(form.body)
    assert (sent["token"], sent["priority"]) == (["k=1&2"], ["1"])
    assert message.path == "/botk%3D1%262/sendMessage"
    assert json.loads(message.body) == {
        "chat_id": 4711,
        "text": f"CRITICAL: slow_consumer OMS_FILLS/treasury\n{ALERT.summary}",
        "options": [{"silent": "raised"}],
    }
    internet.status = 403
    with pytest.raises(SinkError, match=r"/bot\{key\}/sendMessage answers 403"):
        await telegram.tell([WARNING], [])


async def test_a_template_with_an_unknown_word_says_which_there_are():
    broken = pager(kind="webhook", url="http://127.0.0.1:1", body={"text": "{sumary}"})
    with pytest.raises(SinkError, match=r"sumary.*it may hold alert_id, name, raised_at"):
        await broken.tell([ALERT], [])


@contextmanager
def mail_server() -> Generator[tuple[int, list[str]]]:
    """Takes one message; what was said to it."""
    heard: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rw", newline="\r\n") as file:
            print("220 ready", file=file, flush=True)
            data = False
            for line in file:
                heard.append(line.rstrip())
                if data:
                    data = line != ".\r\n"
                    answer = "" if data else "250 taken"
                elif line.upper().startswith("DATA"):
                    data, answer = True, "354 go on"
                else:
                    answer = "221 bye" if line.upper().startswith("QUIT") else "250 ok"
                if answer:
                    print(answer, file=file, flush=True)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1], heard
    finally:
        listening.close()
        thread.join(60)


async def test_mail_is_handed_in_for_every_address_with_the_alert_in_its_subject():
    with mail_server() as (port, heard):
        mail = pager(
            kind="mail", host="127.0.0.1", port=port, security="none", sender="bus@example.org",
            to=["ann@example.org", "bob@example.org"],
        )  # fmt: skip
        await mail.tell([ALERT], [])
    assert "rcpt to:<bob@example.org>" in [line.lower() for line in heard]
    assert "Subject: [mts1b] CRITICAL: slow_consumer OMS_FILLS/treasury" in heard
    assert "treasury on OMS_FILLS lags 31 s behind" in heard


async def test_mail_that_nobody_takes_is_an_error_that_names_server_and_addresses():
    mail = pager(kind="mail", host="127.0.0.1", port=1, security="none", sender="a@b.c", to=["ann@example.org"])
    with pytest.raises(SinkError, match=r"mail to ann@example.org by 127.0.0.1:1: .*refused"):
        await mail.tell([ALERT], [])


class Phone:
    """A channel of a test."""

    name = "phone"

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.takes = 9

    async def send(self, page: object, /) -> None:
        if len(self.heard) >= self.takes:
            raise SinkError("no network")
        self.heard.append((page.status, page.alert.alert_id))  # type: ignore[attr-defined]


async def test_what_is_critical_is_repeated_until_somebody_knows_and_a_warning_is_not():
    phone, known, now = Phone(), set[str](), [0.0]
    made = Pager(phone, known, repeat=300, clock=lambda: now[0])
    in_force = [ALERT, WARNING]
    await made.tell(in_force, in_force)
    now[0] = 299
    await made.tell([], in_force)
    assert phone.heard == [("raised", ALERT.alert_id), ("raised", WARNING.alert_id)]
    for at in (300, 400, 600):
        now[0] = at
        await made.tell([], in_force)
    assert phone.heard[2:] == [("repeated", ALERT.alert_id)] * 2
    known.add(ALERT.alert_id)
    now[0] = 2_000
    await made.tell([], in_force)
    await made.tell([OVER], [WARNING])
    assert phone.heard[4:] == [("cleared", ALERT.alert_id)]


async def test_a_page_that_did_not_get_through_is_sent_again_and_those_before_it_are_not():
    phone = Phone()
    made = Pager(phone, ())
    phone.takes = 1
    with pytest.raises(SinkError):
        await made.tell([WARNING, ALERT], [])
    phone.takes = 9
    await made.tell([WARNING, ALERT, OVER], [])  # a monitor gives a sink what it has missed, and what came with it
    assert phone.heard == [("raised", WARNING.alert_id), ("raised", ALERT.alert_id), ("cleared", ALERT.alert_id)]


async def test_an_alert_that_becomes_the_same_again_is_told_again():
    phone = Phone()
    made = Pager(phone, ())
    milder = ALERT.model_copy(update={"severity": AlertSeverity.WARNING})
    for change in (milder, ALERT, milder.model_copy(), ALERT.model_copy()):
        await made.tell([change], [])
    assert phone.heard == [("raised", ALERT.alert_id)] * 4


async def test_who_wants_critical_pages_only_gets_no_warnings():
    phone = Phone()
    await Pager(phone, (), minimum=AlertSeverity.CRITICAL).tell([WARNING, ALERT], [])
    assert phone.heard == [("raised", ALERT.alert_id)]


QUIET = {
    Watch.SLOW_CONSUMER: Threshold(critical=300, clear=100, clear_hold=0),
    Watch.SERVER: Threshold(critical=20, clear=10, clear_hold=0),
}


@pytest.fixture
async def operations(bus: EventBus, connect_bus: ConnectBus) -> EventBus:
    await apply_streams(bus)
    return await connect_bus("mts1b-operations")


async def test_an_acknowledgement_on_the_bus_ends_the_repeating_also_for_the_next_monitor(
    operations: EventBus,
    bus: EventBus,
    internet: Outside,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    settings = MonitorSettings.model_validate(
        {
            "pagers": [{"kind": "ntfy", "url": f"{internet.url}/desk", "repeat": 0.01}],
            "interval": 0.05,
            "probe_timeout": 30,
            "thresholds": {watch: threshold.model_dump() for watch, threshold in QUIET.items()},
        }
    )
    await bus.plain_jetstream().delete_stream("RISK")
    watching = asyncio.create_task(Monitor(operations, settings).run())
    while len(internet.requests) < 3:  # noqa: ASYNC110 - told, and repeated
        await asyncio.sleep(0.01)
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    assert await asyncio.to_thread(run, ["alerts", "ls", "--json"]) == 0
    (alert,) = json.loads(capsys.readouterr().out)
    assert (alert["target"], alert["acknowledged"]) == ("RISK", None)
    assert await asyncio.to_thread(run, ["alerts", "acknowledge", "nothing"]) == 1
    assert alert["alert_id"] in capsys.readouterr().err
    assert await asyncio.to_thread(run, ["alerts", "acknowledge", alert["alert_id"], "--note", "seen"]) == 0
    seen = -1
    while seen != len(internet.requests):  # whatever was under way
        seen = len(internet.requests)
        await asyncio.sleep(0.5)
    watching.cancel()
    after = Monitor(operations, settings)
    watching = asyncio.create_task(after.run())
    while after.gauges.looks < 3:  # noqa: ASYNC110 - what is counted has no event
        await asyncio.sleep(0.01)
    watching.cancel()
    assert len(internet.requests) == seen
    assert after.known == {alert["alert_id"]}


async def test_the_sign_of_life_stays_away_when_the_server_does_not_store_or_somebody_cannot_be_told(
    operations: EventBus, bus: EventBus, internet: Outside
):
    def monitor(**changes: object) -> Monitor:
        document = {
            "heartbeat": f"{internet.url}/ping/uuid",
            "heartbeat_every": 0.001,
            "expected_streams": [],
            "probe_timeout": 30,
            "thresholds": {watch: threshold.model_dump() for watch, threshold in QUIET.items()},
        }
        return Monitor(operations, MonitorSettings.model_validate({**document, **changes}))

    await monitor().look()
    assert [(each.method, each.path) for each in internet.requests] == [("GET", "/ping/uuid")]
    await bus.plain_jetstream().delete_stream("OPERATIONS_ALERTS")  # the bus cannot be told of what is missing
    untold = monitor(expected_streams=["RISK", "NONE"])
    await untold.look()
    await bus.plain_jetstream().delete_stream("OPERATIONS_PROBES")
    await monitor().look()
    assert len(internet.requests) == 1


def test_the_test_tells_everybody_and_says_who_could_not_be_told(
    internet: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = tmp_path / "mts1b.toml"
    config.write_text(
        f'[monitoring]\nheartbeat = "{internet.url}/ping"\n'
        f'[[monitoring.pagers]]\nkind = "ntfy"\nurl = "{internet.url}/desk"\n'
        '[[monitoring.pagers]]\nkind = "ntfy"\nurl = "http://127.0.0.1:1/gone"\n'
    )
    assert run(["monitor", "test", "--config", str(config), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert "http://127.0.0.1:1/gone cannot be reached" in rows[1]["error"]
    assert [each.path for each in internet.requests] == ["/desk", "/ping"]
    assert internet.requests[0].body == "This is a test of who is told. Nothing is wrong."

    internet.requests.clear()
    assert run(["monitor", "page", "the backup failed", "--config", str(config)]) == 1  # one of them is gone
    (told,) = internet.requests
    said, remedy = told.body.splitlines()
    assert (told.headers["Priority"], said) == ("urgent", "the backup failed")
    assert remedy.endswith("docs/runbook.md#page")
    capsys.readouterr()

    config.write_text("[monitoring]\n")
    assert run(["monitor", "test", "--config", str(config)]) == 1
    assert "nobody is told of an alert" in capsys.readouterr().err
