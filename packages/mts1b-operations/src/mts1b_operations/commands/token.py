"""Tokens of people: issued by the local issuer, and looked into."""

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import jwt
import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.output import Json, noun, print_json, say

from mts1b_operations.auth.keys import token_key
from mts1b_operations.auth.places import keys_directory, token_file
from mts1b_operations.auth.roles import RoleError, load_roles
from mts1b_operations.auth.tokens import LONGEST, issue_token

app = noun(__doc__ or "")

_UNITS = {"m": 60, "h": 3600}


class TokenError(Mts1bError):
    """A token cannot be issued or read as asked."""


@app.command("issue")
def issue(
    name: Annotated[str, typer.Argument(help="Whose token it is.")],
    *,
    role: Annotated[list[str], typer.Option("--role", help="What the person may read; may be given often.")],
    lifetime: Annotated[str, typer.Option("--lifetime", help="How long it is good: 8h, 30m; at most 24h.")] = "8h",
    directory: Annotated[Path | None, typer.Option("--dir", help="The issuer's keys.")] = None,
    roles_file: Annotated[Path | None, typer.Option("--roles", help="TOML file with further roles.")] = None,
) -> None:
    """Issue a token; it alone goes to standard output.

    Example: mts1b token issue alice --role trader | mts1b login
    """
    known = load_roles(roles_file)
    if unknown := [each for each in role if each not in known]:
        raise RoleError(f"there is no role {', '.join(unknown)}; there are {', '.join(known)}: see `mts1b auth roles`")
    say(issue_token(token_key(keys_directory(directory)), name, tuple(role), lifetime=_seconds(lifetime)))


@app.command("show")
def show(
    file: Annotated[
        Path | None, typer.Argument(help="File with the token, - for standard input. Default: yours.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """What a token says: who, which roles, until when. Never the token itself. Exit code 1 when it has ended.

    Example: mts1b token show
    """
    path = file or token_file()
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
    except OSError as error:
        raise TokenError(f"no token in {path} ({error.strerror}): `mts1b login` gets one") from None
    try:
        claims = jwt.decode(text.strip(), options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise TokenError(f"{path} holds no JWT: {error}") from None
    end = float(claims.get("exp", 0))
    facts = {
        "person": claims.get("sub"),
        "issuer": claims.get("iss"),
        "roles": claims.get("roles"),
        "until": datetime.fromtimestamp(end, UTC).isoformat(),
        "ended": end <= time.time(),
    }
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            say(f"{key:7}  {', '.join(map(str, value)) if isinstance(value, list) else value}")  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if facts["ended"]:
        raise typer.Exit(1)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([1-9]\d*)([mh])", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST:
        raise TokenError(f"--lifetime {text!r}: write minutes or hours, such as 30m or 8h, at most 24h")
    return float(seconds)
