"""Services as systemd units: what is rendered, and what files are refused."""

import shutil
import subprocess
from pathlib import Path

import pytest
from mts1b_deploy.errors import ConfigFileError
from mts1b_deploy.layout import Layout
from mts1b_deploy.profiles import profile_named
from mts1b_deploy.render import render_follow_unit, render_unit
from mts1b_deploy.services.definition import EXAMPLE, Services
from mts1b_deploy.services.units import PAGE_UNIT, render_page, render_service, render_timer, unit_name

ANALYZE = shutil.which("systemd-analyze") or "there is no systemd-analyze: apt-get install systemd"
BIN = Path(__file__).parents[2] / ".venv" / "bin"
PREFIX = Path("/var/lib/mts1b")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    file = tmp_path / "services.toml"
    file.write_text(EXAMPLE.format(venv=BIN.parent, etc=PREFIX / "etc"))
    return Services.read(file)


def test_every_unit_of_the_example_passes_systemds_own_checks(services: Services, tmp_path: Path):
    units = [tmp_path / unit_name(name) for name in services.services]
    for unit, (name, service) in zip(units, services.services.items(), strict=True):
        unit.write_text(render_service(Layout(PREFIX), services, name, service))
    timers = [render_timer(Layout(PREFIX), services, name, timer) for name, timer in services.timers.items()]
    beside = {path.name: text for each in timers for path, text in each.items()}
    for name, text in {**beside, PAGE_UNIT: render_page(Layout(PREFIX), services)}.items():
        (tmp_path / name).write_text(text)
    said = verified([*units, *(tmp_path / name for name in beside)])
    ours = [line for line in said.splitlines() if any(unit.name in line for unit in units)]
    assert [line for line in ours if "mts1b-nats" not in line] == []
    ensure_locked_in(units)


@pytest.mark.parametrize("asks", [True, False])
def test_a_site_asks_for_the_other_one_before_it_starts_and_its_mirror_does_not(tmp_path: Path, asks: bool):
    layout = Layout(tmp_path / "mts1b")
    layout.binary.parent.mkdir(parents=True)
    shutil.copy("/bin/true", layout.binary)
    server, follow = (tmp_path / path.name for path in (layout.system_unit, layout.follow_unit))
    server.write_text(
        render_unit(layout, profile_named("single"), system=True, user="mts1b-nats", follow=True, asks=asks)
    )
    follow.write_text(render_follow_unit(layout))
    assert verified([server, follow]) == ""
    ensure_locked_in([server, follow])
    lines = server.read_text().splitlines()
    assert f"Wants=network-online.target {follow.name}" in lines  # there is nothing else that starts it
    assert len([line for line in lines if line.startswith("ExecCondition=+") and " may-start " in line]) == asks
    assert f"PartOf={server.name}" in follow.read_text().splitlines()


def verified(units: list[Path]) -> str:
    """What systemd says of these, which lie in one folder."""
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", *units], capture_output=True, text=True, check=False, cwd=units[0].parent
    )
    return done.stderr


def ensure_locked_in(units: list[Path]) -> None:
    """Each could do little harm, by systemd's own measure."""
    judged = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--threshold=30", "--no-pager", *units],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[services.oms]\ncommand = ""\n', "services.oms.command: a command is needed"),
        ('[services.oms]\ncommand = "nothing-here"\n', "oms: there is no program"),
        ('[services.Oms]\ncommand = "mts1b lag"\n', "services.Oms"),
        ("services = 3\n", "shows how it is written"),
        ("[services", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_words(tmp_path: Path, text: str, said: str):
    file = tmp_path / "services.toml"
    file.write_text(text)
    with pytest.raises(ConfigFileError, match=r"oms|service") as raised:
        Services.read(file)
    assert said in str(raised.value)
