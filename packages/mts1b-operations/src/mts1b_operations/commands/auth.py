"""Access for people: keys, roles, and the auth-callout responder."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.logs import configure_logging
from mts1b_platform.output import Json, noun, print_listing, say
from mts1b_platform.systemd import notifying

from mts1b_operations.auth.keys import CalloutKeys, make_keys
from mts1b_operations.auth.places import keys_directory
from mts1b_operations.auth.responder import REPO, Responder
from mts1b_operations.auth.revoked import Revoked
from mts1b_operations.auth.roles import load_roles
from mts1b_operations.auth.sessions import SYSTEM, sessions, throw_out
from mts1b_operations.auth.tokens import LOCAL, Issuer, Verifier

app = noun(__doc__ or "")
R = TypeVar("R")

Directory = Annotated[Path | None, typer.Option("--dir", help="The keys. Default: beside the installed certificates.")]
Servers = Annotated[str | None, typer.Option("--servers", help="NATS URLs; otherwise as configured.")]
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
    servers: Servers = None,
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
            responder = Responder(bus, keys, Verifier(*issuers), known, Revoked(place))
            await responder.start()
            say(f"answering; {', '.join(each.name for each in issuers)} are believed")
            async with notifying():
                await stop.wait()
            say(f"admitted {responder.admitted}, refused {responder.refused}")

    asyncio.run(run())


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="The person, as `mts1b auth sessions` shows the name.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the list and the responders' log.")],
    directory: Directory = None,
    servers: Servers = None,
) -> None:
    """Throw one person out now, and let nobody in under that name until `restore`.

    Responders read the list in the directory of the keys; one that has a copy of it elsewhere needs the copy renewed.
    Sessions are ended with the certificate of the server's administration (mts1b-system).

    Example: mts1b auth revoke alice --reason "laptop stolen"
    """
    place = keys_directory(directory)
    Revoked(place).add(name, reason)
    say(f"{name} does not get in any more; the list is {Revoked(place).path}")
    ended = asyncio.run(_with_system(lambda bus: throw_out(bus, name), servers))
    for session in ended:
        say(f"ended the session from {session.address} on {session.server}, since {session.since}")
    say(f"{len(ended)} sessions ended" if ended else f"{name} had no session")


@app.command("restore")
def restore(name: Annotated[str, typer.Argument()], *, directory: Directory = None) -> None:
    """Let a person in again who was thrown out.

    Example: mts1b auth restore alice
    """
    Revoked(keys_directory(directory)).remove(name)
    say(f"{name} gets in again with a token")


@app.command("revoked")
def revoked(*, directory: Directory = None, as_json: Json = False) -> None:
    """List who was thrown out, when and why.

    Example: mts1b auth revoked --json
    """
    rows = [{"person": name, **facts} for name, facts in Revoked(keys_directory(directory)).listed().items()]
    print_listing(rows, as_json=as_json, empty="nobody was thrown out")


@app.command("sessions")
def sessions_command(*, servers: Servers = None, as_json: Json = False) -> None:
    """List the people who are connected now, with the certificate of the server's administration (mts1b-system).

    Example: mts1b auth sessions --json
    """
    found = asyncio.run(_with_system(sessions, servers))
    rows = [{"person": one.person, "address": one.address, "since": one.since, "server": one.server} for one in found]
    print_listing(rows, as_json=as_json, empty="nobody is connected")


async def _with_system(work: Callable[[EventBus], Awaitable[R]], servers: str | None) -> R:
    async with await connect(servers, service=SYSTEM, watched=False) as bus:
        return await work(bus)


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
