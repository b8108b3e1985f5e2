"""Releases of services: one at a time, each ready before the next one, or all as before."""

from pathlib import Path

import pytest
from mts1b_deploy.errors import PrefixError, ReleaseFailed, ReleaseRefused, StartFailed
from mts1b_deploy.journal import Journal
from mts1b_deploy.layout import Layout
from mts1b_deploy.services import units
from mts1b_deploy.services.definition import Services
from mts1b_deploy.services.environment import make_environment
from mts1b_deploy.services.release import Stands, Terms, exchange

NAMES = ("treasury", "oms", "brokers")


class Manager:
    """Runs units as systemd does: what it has read of them, when it is told to."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[str, str] = {}
        self.running: dict[str, str] = {}
        """By unit, the environment that it runs."""
        self.log: list[str] = []
        self.broken: set[str] = set()
        self.unsteady: set[str] = set()
        self._counted = 0
        self.reload()
        for path in place.glob("*.service"):
            self.restart(path.name, 1)

    def reload(self) -> None:
        self._known = {path.name: path.read_text() for path in self._place.glob("*.service")}

    def restart(self, unit: str, timeout: float) -> None:
        assert timeout > 0
        [start] = [line for line in self._known[unit].splitlines() if line.startswith("ExecStart=")]
        environment = "new" if "/new/" in start else "old"
        name = unit.removeprefix("mts1b-").removesuffix(".service")
        self.running.pop(unit, None)
        self.log.append(f"{name} {environment}")
        if f"{name} {environment}" in self.broken:
            raise StartFailed(f"{unit} does not start")
        self.running[unit] = environment

    def restarts(self, unit: str) -> int | None:
        self._counted += 1
        return self._counted if unit in self.unsteady else 0 if unit in self.running else None


@pytest.fixture
def services(tmp_path: Path) -> tuple[Services, Services]:
    found: list[Services] = []
    file = tmp_path / "services.toml"
    file.write_text("\n".join(f'[services.{name}]\ncommand = "{name}"' for name in NAMES))
    for environment in ("old", "new"):
        for name in NAMES:
            program = tmp_path / environment / "bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.touch()
        found.append(Services.read(file, venv=tmp_path / environment))
    return found[0], found[1]


@pytest.fixture
def manager(services: tuple[Services, Services], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    place = tmp_path / "units"
    place.mkdir()
    monkeypatch.setattr(units, "UNITS", place)
    for name, service in services[0].services.items():
        units.unit_path(name).write_text(units.render_service(Layout(tmp_path), services[0], name, service))
    made = Manager(place)
    made.log.clear()
    return made


def change(
    services: tuple[Services, Services], manager: Manager, tmp_path: Path, *, stands: list[Stands] | None = None
) -> dict[str, float]:
    where = iter(stands or [])
    remembered: dict[str, str] = {}
    terms = Terms(
        stands=lambda _: next(where, {("S", "d"): 9}),
        remember=lambda path, text: remembered.update({path.name: text}),
        settle=0.0,
        manager=manager,
    )
    with Journal() as journal:
        took = exchange(Layout(tmp_path), *services, journal, terms)
        journal.commit()
    assert remembered == {path.name: path.read_text() for path in (tmp_path / "units").iterdir()}
    return took


def test_services_change_one_after_the_other_in_the_order_of_their_file_and_back(
    services: tuple[Services, Services], manager: Manager, tmp_path: Path
):
    assert list(change(services, manager, tmp_path)) == list(NAMES)
    assert set(manager.running.values()) == {"new"}
    change((services[1], services[0]), manager, tmp_path)
    assert set(manager.running.values()) == {"old"}
    assert manager.log == [*(f"{name} new" for name in NAMES), *(f"{name} old" for name in NAMES)]


def test_one_that_does_not_become_ready_brings_all_of_them_back(
    services: tuple[Services, Services], manager: Manager, tmp_path: Path
):
    manager.broken = {"oms new"}
    with pytest.raises(ReleaseFailed, match=r"oms of .*/new is not ready: mts1b-oms.service does not start"):
        change(services, manager, tmp_path)
    assert manager.log == ["treasury new", "oms new", "oms old", "treasury old"]  # the brokers were never touched
    assert manager.running == {f"mts1b-{name}.service": "old" for name in NAMES}
    assert "/new/" not in "".join(path.read_text() for path in (tmp_path / "units").iterdir())


def test_one_that_is_started_again_by_itself_is_not_ready(
    services: tuple[Services, Services], manager: Manager, tmp_path: Path
):
    manager.unsteady = {"mts1b-treasury.service"}
    with pytest.raises(ReleaseFailed, match="did not stay ready"):
        change(services, manager, tmp_path)
    assert manager.log == ["treasury new", "treasury old"]


@pytest.mark.parametrize(("after", "said"), [({("S", "d"): 3}, "stands at 3"), ({}, "is gone")])
def test_a_durable_that_lost_its_place_brings_all_of_them_back(
    services: tuple[Services, Services], manager: Manager, tmp_path: Path, after: Stands, said: str
):
    with pytest.raises(ReleaseFailed, match=f"durable d on S, which stood at 9, {said}"):
        change(services, manager, tmp_path, stands=[{("S", "d"): 9}, after])
    assert set(manager.running.values()) == {"old"}


def test_nothing_is_touched_while_a_service_is_not_ready(
    services: tuple[Services, Services], manager: Manager, tmp_path: Path
):
    del manager.running["mts1b-brokers.service"]
    with pytest.raises(ReleaseRefused, match="brokers is not ready"):
        change(services, manager, tmp_path)
    assert manager.log == []


def test_an_environment_is_made_in_a_directory_of_its_own_from_wheels_that_are_there(tmp_path: Path):
    with pytest.raises(PrefixError, match="is there: a release gets a directory of its own"):
        make_environment(tmp_path, tmp_path)
    with pytest.raises(ReleaseFailed, match=r"has no wheels mts1b_\*.whl: name what is to be installed"):
        make_environment(tmp_path / "new", tmp_path)
    assert list(tmp_path.iterdir()) == []
