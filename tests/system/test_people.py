"""People on a fresh installation of profile ``single``, by the commands alone: no certificate, no option twice."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mts1b_deploy.testing import Machine
from mts1b_foundation.samples import DEAD_LETTER
from mts1b_foundation.subjects import OMS_DEADLETTERS_CREATED
from mts1b_platform.eventbus import connect
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

    async def publish(self) -> None:
        settings = self.machine.layout.config
        async with await connect(service="mts1b-oms", config=settings, connect_timeout=20) as oms:
            await oms.emit(OMS_DEADLETTERS_CREATED, DEAD_LETTER)


@pytest.fixture
def desk(machine: Machine) -> Desk:
    (websocket,) = free_ports(1)
    machine.deploy("install", "--profile", "single", "--websocket-port", str(websocket))
    made = Desk(machine)
    said = made.mts1b("auth", "init").stdout
    assert "`mts1b-deploy install`" in said
    machine.deploy("install")
    return made


def test_a_person_logs_in_from_nothing_and_looks(desk: Desk):
    asyncio.run(desk.publish())
    with desk.serving("auth", "serve", until="answering"):
        token = desk.mts1b("token", "issue", "olga", "--role", "operator").stdout
        assert "logged in as olga" in desk.mts1b("login", stdin=token).stdout
        (desk.machine.layout.pki / "mts1b-operations.pem").rename(desk.machine.home / "not-for-people.pem")
        assert "no halt is in force" in desk.mts1b("halt", "ls").stdout
        assert DEAD_LETTER.dead_letter_id in desk.mts1b("deadletters", "ls").stdout
        assert DEAD_LETTER.dead_letter_id in desk.mts1b("deadletters", "show", DEAD_LETTER.dead_letter_id).stdout
        assert "invalid_payload" in desk.mts1b("deadletters", "stats").stdout
