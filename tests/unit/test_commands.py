"""What every command promises: help with an example, and JSON where it lists."""

from collections.abc import Iterator
from typing import Any

import mts1b_deploy.cli
import mts1b_desk.cli
import pytest
from mts1b_platform.cli import app
from typer.core import TyperGroup
from typer.main import get_command


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    found = command.make_context(path, [], resilient_parsing=True).command
    if not isinstance(found, TyperGroup):
        yield path, found
        return
    for name, each in found.commands.items():
        yield from walk(each, f"{path} {name}")


COMMANDS = {
    path: command
    for name, whole in {"mts1b": app(), "mts1b-deploy": mts1b_deploy.cli.app, "mts1b-desk": mts1b_desk.cli.app}.items()
    for path, command in walk(get_command(whole), name)
}


def test_commands_are_found():
    assert {"mts1b streams ls", "mts1b lag", "mts1b-deploy pki rotate", "mts1b-desk run"} <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS)
def test_help_has_an_example(path: str):
    command = COMMANDS[path]
    text = f"{command.help} {command.epilog} "
    assert "Example" in text
    assert f"{path} " in text.replace("\n", " ")


@pytest.mark.parametrize("path", [path for path in COMMANDS if path.split()[-1] in ("ls", "roles", "status", "doctor")])
def test_listings_have_json(path: str):
    assert any("--json" in each.opts for each in COMMANDS[path].params), path
