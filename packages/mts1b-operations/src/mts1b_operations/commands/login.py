"""Log in: keep a token for this user's commands and programs, once the server has accepted it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus import connect
from mts1b_platform.output import noun, say

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
    """Read a token, try it, and keep it where `connect()` looks (token_file), readable by you alone.

    Programs that run with the token before take the new one when theirs ends.

    Example: mts1b token issue alice --role trader | mts1b login --servers wss://bus.example.org:4443
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
    draft = place.with_name(f".{place.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(token + "\n")
    draft.replace(place)
    say(f"logged in as {name}; the token is in {place}")
    say("programs use it with token_file in mts1b.toml, or MTS1B_TOKEN_FILE")


def _from_stdin() -> str:
    if sys.stdin.isatty():
        sys.stderr.write("token: ")
        sys.stderr.flush()
    return sys.stdin.readline()
