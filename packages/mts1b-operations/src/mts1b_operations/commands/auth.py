"""Access for people: keys, roles, and the auth-callout responder."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from mts1b_platform.eventbus import connect
from mts1b_platform.logs import configure_logging
from mts1b_platform.output import Json, noun, print_listing, say

from mts1b_operations.auth.keys import CalloutKeys, make_keys
from mts1b_operations.auth.places import keys_directory
from mts1b_operations.auth.responder import REPO, Responder
from mts1b_operations.auth.roles import load_roles
from mts1b_operations.auth.tokens import LOCAL, Issuer, Verifier

app = noun(__doc__ or "")

Directory = Annotated[Path | None, typer.Option("--dir", help="The keys. Default: beside the installed certificates.")]
RolesFile = Annotated[Path | None, typer.Option("--roles", help="TOML file with further roles.")]


@app.command("init")
def init(*, directory: Directory = None) -> None:
    """Create the keys that authorize people's connections; existing ones stay.

    Example: mts1b auth init
    """
    place = keys_directory(directory)
    made = make_keys(place)
    say(f"{'made' if made else 'unchanged'}: keys in {place}")
    say("the server learns of them by `mts1b-deploy install`; then run `mts1b auth serve`")


@app.command("serve")
def serve(
    *,
    directory: Directory = None,
    roles: RolesFile = None,
    issuer: Annotated[
        str | None, typer.Option(help="Also accept tokens of this OpenID issuer (its claim iss).")
    ] = None,
    jwks: Annotated[str | None, typer.Option(help="Where its keys are: an https address or a file.")] = None,
    audience: Annotated[str, typer.Option(help="The audience its tokens must name.")] = "mts1b-bus",
    roles_claim: Annotated[str, typer.Option(help="The claim with the roles; dots lead into objects.")] = "roles",
    name_claim: Annotated[str, typer.Option(help="The claim that names the person.")] = "sub",
    servers: Annotated[str | None, typer.Option("--servers", help="NATS URLs; otherwise as configured.")] = None,
) -> None:
    """Authorize connections by token, until interrupted. Two responders share the work.

    Example: mts1b auth serve --issuer https://login.example.org --jwks https://login.example.org/certs
    """
    if (issuer is None) != (jwks is None):
        raise typer.BadParameter("an OpenID provider is given by --issuer and --jwks together")
    place = keys_directory(directory)
    issuers = [Issuer(LOCAL, str(place / "jwks.json"))]
    if issuer is not None and jwks is not None:
        issuers.append(Issuer(issuer, jwks, audience=audience, roles_claim=roles_claim, name_claim=name_claim))
    known, keys = load_roles(roles), CalloutKeys.load(place)
    configure_logging()

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with await connect(servers, service=REPO) as bus:
            responder = Responder(bus, keys, Verifier(*issuers), known)
            await responder.start()
            say(f"answering; {', '.join(each.name for each in issuers)} are believed")
            await stop.wait()
            say(f"admitted {responder.admitted}, refused {responder.refused}")

    asyncio.run(run())


@app.command("roles")
def roles(*, file: RolesFile = None, as_json: Json = False) -> None:
    """List the roles: what they read as it happens, whose history, what they look up and have done.

    Example: mts1b auth roles --json
    """
    rows = [
        {
            "role": role.name,
            "reads": role.subjects,
            "history": role.streams,
            "looks": role.looks,
            "acts": role.acts,
            "for": role.description,
        }
        for role in load_roles(file).values()
    ]
    print_listing(rows, as_json=as_json)
