"""The console: a trading desk's view of the bus, in a browser."""

import asyncio
import os
import re
import signal
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.output import Json, noun, print_json, say

if TYPE_CHECKING:  # `mts1b console --help` needs no web server
    from mts1b_console.settings import ConsoleSettings

app = noun(__doc__ or "")

Listen = Annotated[str | None, typer.Option("--listen", metavar="ADDRESS:PORT", help="Otherwise as configured.")]
_WITHIN: Final = 10.0
_REFERENCE: Final = re.compile(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""")


class ConsoleError(Mts1bError):
    """The console cannot be opened, or is not complete."""


@app.command("serve")
def serve(
    *,
    listen: Listen = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only", help="Offer no action, whatever the role.", show_default=False)
    ] = None,
    servers: Annotated[
        str | None, typer.Option("--servers", help="A bus without people; otherwise as configured.")
    ] = None,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End with standard input as well.")] = False,
) -> None:
    """Serve the console until SIGTERM or Ctrl-C; prints its address.

    On a bus with people each of them signs in, and sees and does what the server lets that person. On a bus without
    authentication everybody on this machine is the operations; it listens on loopback only.

    Example: mts1b console serve

    Example: mts1b console serve --listen 127.0.0.1:8091 --read-only
    """
    from mts1b_platform.config import Settings
    from mts1b_platform.logs import configure_logging

    configure_logging()
    settings, bus = _settings(listen=listen, read_only=read_only), Settings.load(servers=servers)
    asyncio.run(_serve(settings, bus, servers, until_eof=until_eof))


async def _serve(settings: "ConsoleSettings", bus: Any, servers: str | None, *, until_eof: bool) -> None:
    from mts1b_platform.systemd import notifying
    from mts1b_platform.threads import in_thread

    from mts1b_console.web.app import serving

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def eof() -> None:
        await in_thread(_read_to_its_end, sys.stdin.fileno())
        stop.set()

    ended = asyncio.create_task(eof()) if until_eof else None
    async with serving(settings, bus, servers=servers) as (console, address), notifying():
        say(f"console: {address}")
        if not console.door.secured:
            say("this bus has no authentication: everybody on this machine may act; only this machine reaches it")
            if bus.audit_dir is None and not settings.read_only:
                say("audit log: none (MTS1B_AUDIT_DIR), so halts alone are done")
        await stop.wait()
    if ended is not None:
        ended.cancel()


def _read_to_its_end(file: int) -> None:
    """Return when nothing more comes. A buffer would be locked meanwhile, and the interpreter could not end."""
    while os.read(file, 4096):
        pass


@app.command("open")
def open_(
    *,
    url: Annotated[str | None, typer.Option("--url", help="The console's address; otherwise as configured.")] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Authority that signed the console, PEM.")] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser; --no-browser prints the address.")] = True,
) -> None:
    """Open the console in a browser, signed in as whoever is logged in (`mts1b login`).

    The token goes to the console itself, not into the address: that has a code, good once and for 30 seconds.

    Example: mts1b console open
    """
    settings = _settings()
    address = (url or f"{'https' if settings.tls_pem else 'http'}://{settings.listen}").rstrip("/")
    code = asyncio.run(_code(address, ca, _token()))
    place = f"{address}/#code={code}" if code else f"{address}/"
    if not browser or not webbrowser.open(place):
        say(place)


def _token() -> str | None:
    from mts1b_operations.auth.places import token_file
    from mts1b_platform.config import Settings

    settings = Settings.load()
    if settings.token is not None:
        return settings.token.get_secret_value()
    path = token_file()
    return path.read_text().strip() if path.is_file() else None


async def _code(address: str, ca: Path | None, token: str | None) -> str | None:
    """A one-time code for the token; None when there is none, or the console signs nobody in."""
    import ssl

    from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

    context = ssl.create_default_context(cafile=str(ca)) if ca else True
    try:
        async with ClientSession(timeout=ClientTimeout(total=_WITHIN), connector=TCPConnector(ssl=context)) as session:
            async with session.get(f"{address}/api/me") as answer:
                if not (await answer.json()).get("secured") or token is None:
                    return None
            async with session.post(f"{address}/handover", json={"token": token}) as answer:
                document = await answer.json()
    except (ClientError, TimeoutError, ValueError) as error:
        raise ConsoleError(f"no console answers at {address} ({error}): `mts1b console serve`, or give --url") from None
    if "error" in document:
        raise ConsoleError(document["error"]["message"])
    return str(document["code"])


@app.command("check")
def check(
    *,
    types: Annotated[
        bool, typer.Option("--types", help="Print the shapes of the API as TypeScript, and check nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that the package holds the whole browser program, and that every file of it is served as it is.

    Exit code 1 when something is missing, differs, or would be fetched from elsewhere.

    Example: mts1b console check
    """
    if types:
        from mts1b_console.typescript import typescript

        sys.stdout.write(typescript())
        return
    rows, problems = asyncio.run(_checked())
    if as_json:
        print_json({"files": rows, "problems": problems})
    else:
        for row in rows:
            say(f"{row['sha256'][:16]}  {row['bytes']:>8,}  {row['file']}")
        say("every file is served as it is" if not problems else "\n".join(problems))
    if problems:
        raise typer.Exit(1)


async def _checked() -> tuple[list[dict[str, Any]], list[str]]:
    from hashlib import sha256

    from aiohttp import ClientSession
    from mts1b_platform.config import Settings

    from mts1b_console.bundle import PAGE, bundle
    from mts1b_console.settings import ConsoleSettings
    from mts1b_console.web.app import serving

    files = bundle()
    problems: list[str] = []
    async with (
        serving(ConsoleSettings(listen="127.0.0.1:0", bus="wss://nowhere.invalid:1"), Settings.load()) as (_, address),
        ClientSession(auto_decompress=True) as session,
    ):
        for name, file in files.items():
            path = "/" if name == PAGE else f"/static/{name}"
            async with session.get(f"{address}{path}") as answer:
                content = await answer.read()
                if answer.status != 200 or sha256(content).hexdigest() != file.hash:
                    problems.append(f"{path} is not served as the package has it (status {answer.status})")
                if answer.headers.get("Content-Type") != file.type:
                    problems.append(f"{path} is served as {answer.headers.get('Content-Type')}, not as {file.type}")
    for place in _REFERENCE.findall(files[PAGE].content.decode()):
        local = place.partition("?")[0].partition("#")[0]
        if not local.startswith("/static/") or local.removeprefix("/static/") not in files:
            problems.append(f"{PAGE} refers to {place}, which is no file of the package")
    rows = [
        {"file": each.name, "bytes": len(each.content), "sha256": each.hash}
        for each in sorted(files.values(), key=lambda each: each.name)
    ]
    return rows, problems


def _settings(**given: Any) -> "ConsoleSettings":
    from mts1b_platform.config import find_config

    from mts1b_console.settings import ConsoleSettings

    return ConsoleSettings.read(find_config(), **given)
