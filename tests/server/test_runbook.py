"""The runbook: a section for every alert, and commands that exist; those that only look are run."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

import mts1b_deploy.cli
import pytest
from mts1b_deploy.observability import RULES
from mts1b_operations.monitor.reading import Watch
from mts1b_platform.cli import app, run
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers
from mts1b_platform.server import NatsServer
from typer.core import TyperGroup
from typer.main import get_command

TEXT = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = sorted({line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()})
LOOKING = {"ls", "lag", "show", "stats", "find", "limits", "server", "plan", "sizes"}
OURS = {"mts1b": app(), "mts1b-deploy": mts1b_deploy.cli.app}


def test_every_alert_has_a_section_with_three_commands_that_says_when_to_halt():
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
    assert {watch.value for watch in Watch} | {rule.runbook for rule in RULES} | {"page"} == sections.keys()
    for name, text in sections.items():
        assert len(re.findall(r"```\n(?:.+\n){3}```", text)) >= 1, name
        assert re.search(r"\bhalt\b", text, re.IGNORECASE), name


def parsed(words: list[str]) -> Any:
    """The verb that a command line names, once its options were read."""
    command: Any = get_command(OURS[words[0]])
    rest = words[1:]
    while True:
        context = command.make_context(words[0], [], resilient_parsing=True)
        command = context.command  # a noun is loaded when it is asked for
        if not isinstance(command, TyperGroup):
            break
        command = command.commands[rest.pop(0)]
    context.resilient_parsing = False
    command.make_parser(context).parse_args(args=rest)  # raises at an option that there is not
    return command


@pytest.mark.parametrize("line", [line for line in COMMANDS if shlex.split(line)[0] in OURS])
def test_a_command_of_the_runbook_exists_with_its_options(line: str):
    assert parsed(shlex.split(line)) is not None


def test_a_command_that_does_not_exist_is_noticed():
    with pytest.raises(KeyError):
        parsed(["mts1b", "streams", "nothing"])
    with pytest.raises(Exception, match="--nothing"):
        parsed(["mts1b", "streams", "ls", "--nothing"])


async def test_what_only_looks_works_on_a_bus_that_is_well(
    bus: EventBus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    await apply_streams(bus)
    await apply_consumers(bus, declared().consumers)
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    ran = [words for line in COMMANDS if (words := shlex.split(line))[0] == "mts1b" and LOOKING & set(words[1:3])]
    assert len(ran) > 10
    for words in ran:
        code = await asyncio.to_thread(run, words[1:])
        said = capsys.readouterr()
        assert code == 0, f"{words}: {said.err}"
