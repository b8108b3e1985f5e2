"""The commands, as somebody types them."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from mts1b_console import bundle
from mts1b_console.web import app
from mts1b_console.web.keys import Console
from mts1b_platform.cli import run


async def test_the_package_holds_the_whole_program_and_serves_it(capsys: pytest.CaptureFixture[str]):
    assert await asyncio.to_thread(run, ["console", "check"]) == 0
    said = capsys.readouterr().out
    assert "index.html" in said
    assert "every file is served as it is" in said


async def test_a_program_that_would_fetch_from_elsewhere_is_found_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    page = bundle.File("index.html", b'<script src="https://cdn.example/x.js"></script>', "text/html", "0" * 64)
    for module in (bundle, app):
        monkeypatch.setattr(module, "bundle", lambda: {"index.html": page})
    assert await asyncio.to_thread(run, ["console", "check"]) == 1
    said = capsys.readouterr().out
    assert "https://cdn.example/x.js, which is no file of the package" in said
    assert "/ is not served as the package has it" in said


async def test_open_prints_the_address_where_nobody_signs_in(
    console: tuple[Console, str], capsys: pytest.CaptureFixture[str]
):
    assert await asyncio.to_thread(run, ["console", "open", "--no-browser", "--url", console[1]]) == 0
    assert capsys.readouterr().out.strip() == f"{console[1]}/"


async def test_open_says_what_to_start_when_nobody_answers(capsys: pytest.CaptureFixture[str]):
    assert await asyncio.to_thread(run, ["console", "open", "--no-browser", "--url", "http://127.0.0.1:9"]) == 1
    assert "`mts1b console serve`" in capsys.readouterr().err


async def test_a_taken_address_is_named(console: tuple[Console, str]):
    program = Path(sys.executable).with_name("mts1b")
    listen = console[1].removeprefix("http://")
    process = await asyncio.create_subprocess_exec(
        program, "console", "serve", "--listen", listen, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"give another with --listen" in said


@pytest.mark.usefixtures("console")
async def test_ctrl_c_ends_it_cleanly_while_it_waits_for_the_end_of_its_input():
    program = str(Path(sys.executable).with_name("mts1b"))
    process = await asyncio.create_subprocess_exec(
        program, "console", "serve", "--listen", "127.0.0.1:0", "--until-eof",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert b"console: http" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code = await process.wait()  # its input is still open
    assert process.stderr is not None
    assert (code, await process.stderr.read()) == (0, b"")
