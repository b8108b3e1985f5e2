"""People on a fresh installation of profile ``single``, by the commands alone: no certificate, no option twice."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mts1b_deploy.testing import Machine
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, TREASURY_DEADLETTERS_CREATED
from mts1b_platform.eventbus import connect
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.testing.ports import free_ports
from mts1b_platform.testing.programs import run_program

PATIENCE = 60
BESIDE = Path(sys.executable).parent


class Desk:
    """A machine with profile ``single`` and the responder that lets people in."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def mts1b(
        self, *words: str, stdin: str = "", code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = run_program(
            "mts1b_platform.cli:main", ["mts1b", *words],
            environ={**self.machine.environ, **environment}, cwd=self.machine.home, scratch=self.machine.home.parent,
            stdin=stdin,
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    @contextmanager
    def serving(self, *words: str, until: str) -> Generator[subprocess.Popen[str], None, None]:
        """A command that runs until the end of the block; it has said ``until`` at its beginning."""
        command, environment = [BESIDE / "mts1b", *words], self.machine.environ
        process = subprocess.Popen(command, env=environment, cwd=self.machine.home, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert until in process.stdout.readline()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 0

    async def publish(self) -> str:
        """An order, and the dead letter of it; its id."""
        settings = self.machine.layout.config
        async with (
            await connect(service="mts1b-oms", config=settings, connect_timeout=20) as oms,
            await connect(service="mts1b-treasury", config=settings, connect_timeout=20) as treasury,
        ):
            ack = await oms.emit(OMS_ORDERS_CREATED, ORDER)
            held = await read_stored(oms, ack.stream, seq=ack.seq)
            assert held is not None
            letter = DeadLetter.of_stored(
                subject=ack.subject, headers=held.wire.headers.readable(), payload=held.wire.payload,
                stream=ack.stream, sequence=ack.seq, stored_at=held.time,
                consumer="my-consumer", deliveries=1, reason=DeadLetterReason.REJECTED, error="a bug",
            )  # fmt: skip
            await treasury.emit(TREASURY_DEADLETTERS_CREATED, letter)
            return letter.dead_letter_id


@pytest.fixture
def desk(machine: Machine) -> Desk:
    (websocket,) = free_ports(1)
    machine.deploy("install", "--profile", "single", "--websocket-port", str(websocket))
    made = Desk(machine)
    said = made.mts1b("auth", "init").stdout
    assert "`mts1b-deploy install`" in said
    machine.deploy("install")
    return made


@pytest.mark.slow(seconds=12)
def test_a_person_logs_in_from_nothing_looks_and_acts(desk: Desk):
    letter = asyncio.run(desk.publish())
    with (
        desk.serving("auth", "serve", until="answering"),
        desk.serving("look", "serve", until="answering"),
        desk.serving("act", "serve", until="audit log"),
    ):
        token = desk.mts1b("token", "issue", "olga", "--role", "operator").stdout
        assert "logged in as olga" in desk.mts1b("login", stdin=token).stdout
        (desk.machine.layout.pki / "mts1b-operations.pem").rename(desk.machine.home / "not-for-people.pem")
        assert "no halt is in force" in desk.mts1b("halt", "ls").stdout
        assert letter in desk.mts1b("deadletters", "ls").stdout
        assert "a bug" in desk.mts1b("deadletters", "show", letter).stdout
        assert "rejected" in desk.mts1b("deadletters", "stats").stdout
        assert "deadletter-mover" in desk.mts1b("lag").stdout
        assert "deadletter-mover" in desk.mts1b("consumers", "ls").stdout
        assert "OMS_ORDERS" in desk.mts1b("top", "--looks", "1").stdout
        asked = desk.mts1b("halt", "request", "--fund", "alpha", "--reason", "prices", "--wait", "0", code=1)
        assert "mts1b-oms has not obeyed" in asked.stdout, asked.stderr
        (halt,) = json.loads(desk.mts1b("halt", "ls", "--json").stdout)
        assert (halt["fund"], halt["actor"]) == ("alpha", "olga")
        assert "is cleared" in desk.mts1b("halt", "clear", halt["halt"], "--reason", "prices checked").stdout
        away = desk.mts1b("deadletters", "requeue", letter, "--why", "the bug is gone", code=1).stderr
        assert "mts1b-oms, which alone may publish it again, has not answered for 5 s" in away
        assert "discarded" in desk.mts1b("deadletters", "discard", letter, "--why", "booked by hand").stdout
        assert desk.mts1b("auth", "sessions").stdout == "nobody is connected\n"
        assert "olga had no session" in desk.mts1b("auth", "revoke", "olga", "--reason", "laptop stolen").stdout
        assert "laptop stolen" in desk.mts1b("auth", "revoked").stdout
        assert "refuses this identity" in desk.mts1b("halt", "ls", code=1).stderr
        desk.mts1b("auth", "restore", "olga")
        assert "no halt is in force" in desk.mts1b("halt", "ls").stdout
    chain = desk.machine.prefix / "audit" / "mts1b-operations.1"
    actors = {json.loads(line)["actor"] for path in chain.glob("*.jsonl") for line in path.read_text().splitlines()}
    assert actors == {"olga"}
