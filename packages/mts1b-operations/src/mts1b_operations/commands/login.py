"""Log in: keep a token for this user's commands and programs, once the server has accepted it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.config import Settings, find_config, user_config
from mts1b_platform.eventbus import connect
from mts1b_platform.output import noun, say
from mts1b_platform.whole_file import write_whole

from mts1b_operations.auth.places import token_file

app = noun(__doc__ or "", verbs=False)


class LoginError(Mts1bError):
    """Logging in failed."""


@app.command()
def login(
    *,
    file: Annotated[
        Path | None, typer.Option("--token-file", help="Where the token is. Default: standard input.")
    ] = None,
    servers: Annotated[
        str | None, typer.Option("--servers", help="The listener for people, wss://host:port; otherwise as configured.")
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Authority that signed the server, PEM.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to keep it; otherwise as configured.")] = None,
    check: Annotated[bool, typer.Option(help="Ask the server whether it accepts the token.")] = True,
) -> None:
    """Read a token, try it, and keep it, readable by you alone: `mts1b` then acts as you until it ends.

    Programs that run with the token before take the new one when theirs ends. Where no settings lead to the bus yet,
    they are written, so that nothing has to be given twice.

    Examples: mts1b token issue alice --role trader | mts1b login

    mts1b login --servers wss://bus.example.org:8443 --ca ca.crt < token
    """
    token = (file.read_text() if file else _from_stdin()).strip()
    if not token:
        raise LoginError("there was no token: give one on standard input or by --token-file")

    async def try_it() -> str:
        async with await connect(servers, token=token, tls_ca=ca) as bus:
            return bus.identity.name

    name = asyncio.run(try_it()) if check else "unchecked"
    place = out or token_file()
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, f"{token}\n".encode())
    say(f"logged in as {name}; the token is in {place}")
    if out is None:
        _lead_there(servers, ca, place)


def _lead_there(servers: str | None, ca: Path | None, place: Path) -> None:
    """Have the commands and programs to come find the bus without being told."""
    known, path = Settings.load(), find_config()
    if servers is not None and not known.people:
        lines = [f"people = {json.dumps([each.strip() for each in servers.split(',')])}"]
        outside = [f"tls_ca = {json.dumps(str(ca.absolute()))}"] if ca is not None else []
        if path is None:
            path = user_config()
            head = ["# written by mts1b login; edit freely", 'profile = "single"', *outside]
            text = "\n".join([*head, f"token_file = {json.dumps(str(place))}", "", "[nats]", *lines, ""])
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text.encode(), 0o644)
            say(f"{path} now leads to {servers}")
        else:
            say(f"so that --servers need not be given again, add to {path}:\n  " + "\n  ".join(
                [*outside, "[nats]", *lines]
            ))  # fmt: skip
    elif not known.is_person:
        say("`mts1b` acts as you; programs do with MTS1B_TOKEN_FILE set to that file")


def _from_stdin() -> str:
    if sys.stdin.isatty():
        sys.stderr.write("token: ")
        sys.stderr.flush()
    return sys.stdin.readline()
