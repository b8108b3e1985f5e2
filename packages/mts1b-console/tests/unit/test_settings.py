"""Who can reach the console: nobody but this machine, unless people sign in and it has a certificate."""

from pathlib import Path

import pytest
from mts1b_console.settings import ConsoleConfigError, ConsoleSettings
from mts1b_console.web.app import ListenError, hosts, serving
from mts1b_platform.config import ConfigError, Settings


def test_the_table_is_read_and_options_win(tmp_path: Path):
    file = tmp_path / "mts1b.toml"
    file.write_text('profile = "minimal"\n[console]\nlisten = "127.0.0.1:9001"\nenvironment = "paper"\n')
    found = ConsoleSettings.read(file, listen=None, read_only=True)
    assert (found.listen, found.port, found.environment, found.read_only) == ("127.0.0.1:9001", 9001, "paper", True)
    assert ConsoleSettings.read(file, listen="[::1]:0").host == "::1"


def test_other_settings_do_not_mind_the_table(tmp_path: Path):
    file = tmp_path / "mts1b.toml"
    file.write_text('[console]\nlisten = "127.0.0.1:9001"\n')
    Settings.load(file)
    file.write_text("[consul]\n")
    with pytest.raises(ConfigError, match="consul"):
        Settings.load(file)


@pytest.mark.parametrize(
    ("line", "named"),
    [("listen = 8090", "listen"), ('listen = "here:99999"', "65535"), ('color = "red;x"', "color"), ("x = 1", "x")],
)
def test_a_wrong_setting_is_named(tmp_path: Path, line: str, named: str):
    file = tmp_path / "mts1b.toml"
    file.write_text(f"[console]\n{line}\n")
    with pytest.raises(ConsoleConfigError, match=named):
        ConsoleSettings.read(file)


async def test_a_bus_without_people_is_served_on_loopback_only():
    with pytest.raises(ListenError, match="no authentication"):
        async with serving(ConsoleSettings(listen="0.0.0.0:0"), Settings.load()):
            pass


async def test_people_are_served_elsewhere_only_with_a_certificate():
    settings = ConsoleSettings(listen="0.0.0.0:0", bus="wss://bus.example:1")
    with pytest.raises(ListenError, match="tls_pem"):
        async with serving(settings, Settings.load()):
            pass


def test_names_are_those_of_the_address_and_those_that_are_given():
    given = ConsoleSettings(listen="127.0.0.1:8090", names=("console.desk.example",))
    assert {"127.0.0.1:8090", "localhost:8090", "[::1]:8090", "console.desk.example", "console.desk.example:8090"} == (
        hosts(given, 8090)
    )
    outside = ConsoleSettings(listen="10.0.0.7:443", tls_pem=Path("x.pem"))
    assert hosts(outside, 443) == {"10.0.0.7:443", "10.0.0.7"}
