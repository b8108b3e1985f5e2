"""What the commands share: a bus for the time of one command, and who comes on it."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jwt
import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus, connect

from mts1b_operations.auth.places import token_file

Servers = Annotated[str | None, typer.Option("--servers", help="NATS URLs; otherwise as configured.")]
R = TypeVar("R")
REPO = "mts1b-operations"


class NobodyLoggedIn(Mts1bError):
    """There is neither a token nor a certificate."""


def on_bus(
    work: Callable[[EventBus], Awaitable[R]], servers: str | None, *, service: str | None = None, watched: bool = True
) -> R:
    """Connect as :func:`who` says, do ``work``, disconnect."""

    async def run() -> R:
        async with await connect(servers, watched=watched, **who(service)) as bus:
            return await work(bus)

    return asyncio.run(run())


def who(service: str | None = None) -> dict[str, Any]:
    """Who a command comes as, as options of ``connect()``.

    The first of: the token that is configured; the service that is configured; whoever is logged in (``mts1b login``)
    and whose token has not ended; the operations by their certificate. Where there are no identities: ``service``.
    """
    settings = Settings.load()
    if settings.is_person:
        return {}
    if settings.service is not None:
        return {"service": settings.service} if service is None else {"service": service}
    if settings.tls_dir is None and not settings.people:
        return {"service": service}
    path = token_file()
    if not path.is_file():
        if settings.tls_dir is None and settings.tls_cert is None:
            raise NobodyLoggedIn("people come with a token, and there is none: `mts1b login` gets one")
        return {"service": service or REPO}
    if not _ended(path) or not _readable(settings, service or REPO):
        return {"token_file": path}
    sys.stderr.write(f"mts1b: the token in {path} has ended; acting as {service or REPO}, by its certificate\n")
    return {"service": service or REPO}


def _ended(path: Path) -> bool:
    try:
        claims = jwt.decode(path.read_text().strip(), options={"verify_signature": False})
    except (OSError, jwt.PyJWTError):
        return False  # the connection says what is wrong with it
    return float(claims.get("exp", 0)) <= time.time()


def _readable(settings: Settings, service: str) -> bool:
    certificate = settings.tls_cert or (settings.tls_dir or Path()) / f"{service}.pem"
    try:
        with certificate.open("rb"):
            return True
    except OSError:
        return False
