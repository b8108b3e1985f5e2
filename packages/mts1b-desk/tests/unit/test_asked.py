"""What a run is made of: its options, a file of settings, the state of an earlier life."""

import inspect
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mts1b_desk import cli
from mts1b_desk.errors import DeskError
from mts1b_desk.run.asked import SIMULATED_SPEED, Asked, begun, on_servers, resumed
from mts1b_desk.settings import (
    BEFORE_ANY_MARKET,
    SIMULATION_START,
    DeskSettings,
    Durability,
    FundSettings,
    HeardSettings,
    ReplaySettings,
    SimulationSettings,
)

BARS = "timestamp,open,high,low,close\n2021-01-04T00:00:00Z,1,1,1,1\n2021-01-04T00:05:00Z,1,1,1,1\n"


def asked(**options: Any) -> Asked:
    """The command with these options."""
    parameters = inspect.signature(cli.run).parameters
    return replace(Asked(**{each.name: parameters[each.name].default for each in fields(Asked)}), **options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "eurusd.csv"
    path.write_text(BARS)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of settings with a fund and bars of its own."""
    path = tmp_path / "desk.json"
    own = DeskSettings(
        session="file", funds=(FundSettings(fund_id="omega"),), intervals=("1h",), source=SimulationSettings(seed=7)
    )
    path.write_text(own.model_dump_json())
    return path


def test_without_options_a_simulated_market_is_traded():
    settings, summary = begun(asked())
    assert summary is None
    assert (settings.source, settings.speed) == (SimulationSettings(), SIMULATED_SPEED)
    assert (settings.market_start, settings.intervals) == (SIMULATION_START, ("1s",))


def test_a_file_of_data_says_when_the_market_begins_and_how_long_bars_are(data: Path):
    settings, summary = begun(asked(data=data))
    assert summary is not None
    assert isinstance(settings.source, ReplaySettings)
    assert settings.source.digest is not None
    assert (settings.speed, settings.intervals) == (None, ("5m",))
    assert settings.market_start == summary.first == datetime(2021, 1, 4, 0, 5, tzinfo=UTC)
    with pytest.raises(DeskError, match="the file has bars of 5m; --interval 1m cannot be made of them"):
        begun(asked(data=data, interval="1m"))


def test_a_file_of_settings_gives_funds_and_bars_and_the_market_where_no_other_is_named(file: Path, data: Path):
    settings, _ = begun(asked(file=file))
    assert (settings.funds[0].fund_id, settings.intervals) == ("omega", ("1h",))
    assert (settings.source, settings.speed) == (SimulationSettings(seed=7), SIMULATED_SPEED)
    settings, _ = begun(asked(file=file, data=data))
    assert (settings.funds[0].fund_id, settings.intervals, settings.speed) == ("omega", ("5m",), None)


def test_the_speed_of_a_file_of_settings_holds_until_an_option_names_another(file: Path, data: Path):
    file.write_text(DeskSettings.read(file).model_copy(update={"speed": 3.0}).model_dump_json())
    assert begun(asked(file=file))[0].speed == 3
    assert begun(asked(file=file, data=data))[0].speed == 3
    assert begun(asked(file=file, speed="5"))[0].speed == 5
    assert begun(asked(file=file, speed="max"))[0].speed is None


@pytest.mark.parametrize("with_file", [False, True])
def test_replayed_quotes_are_those_of_their_session_whatever_else_a_file_says(file: Path, with_file: bool):
    settings, _ = begun(asked(replayed="s1", file=file if with_file else None))
    assert (settings.session, settings.source, settings.speed) == ("s1", HeardSettings(), None)
    assert settings.market_start == BEFORE_ANY_MARKET


def test_a_run_has_one_market(data: Path):
    with pytest.raises(DeskError, match="one market: leave --data out, or --replayed"):
        begun(asked(data=data, replayed="s1"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"speed": "fast"}, "--speed 'fast' is no speed"),
        ({"speed": "inf"}, "--speed 'inf' is no speed"),
        ({"interval": "0s"}, "--interval: '0s' is no interval; write 500ms, 1s, 5m, 1h or 1d, 1000d at most"),
        ({"interval": "99999999999d"}, "--interval: '99999999999d' is no interval"),
        ({"cash": "much"}, "--cash 'much' is no number"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(options: dict[str, Any], says: str):
    with pytest.raises(DeskError, match=says):
        begun(asked(**options))


def test_what_a_run_is_to_keep_must_be_possible_where_it_runs():
    settings, _ = begun(asked(durability=Durability.RELAXED))
    with pytest.raises(DeskError, match="a relaxed run keeps nothing, on a server of its own"):
        on_servers(settings, "nats://127.0.0.1:4222")
    with pytest.raises(DeskError, match="nothing that a standby could go on from"):
        on_servers(begun(asked(durability=Durability.RELAXED, standby=True))[0], None)
    with pytest.raises(DeskError, match="replayed quotes are heard once"):
        on_servers(begun(asked(replayed="s1", standby=True))[0], None)
    assert on_servers(begun(asked())[0], "nats://a:1,nats://b:2").servers == ("nats://a:1", "nats://b:2")


def test_a_run_that_is_kept_is_gone_on_with_and_not_on_other_data(data: Path, tmp_path: Path):
    settings, _ = begun(asked(data=data))
    stored = tmp_path / "settings.json"
    stored.write_text(settings.model_copy(update={"servers": ("nats://old:1",)}).model_dump_json())
    again = resumed(stored, asked(data=data, speed="20", standby=True, start_within=9.0))
    assert (again.session, again.servers) == (settings.session, None)
    assert (again.speed, again.standby, again.start_within) == (20.0, True, 9.0)
    with pytest.raises(DeskError, match=f"holds session {settings.session}, which is a replay of eurusd.csv"):
        resumed(stored, asked(data=tmp_path / "other.csv"))
