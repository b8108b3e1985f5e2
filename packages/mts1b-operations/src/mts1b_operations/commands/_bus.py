"""What the commands share: a bus for the time of one command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus, connect

Servers = Annotated[str | None, typer.Option("--servers", help="NATS URLs; otherwise as configured.")]
R = TypeVar("R")
REPO = "mts1b-operations"


def on_bus(work: Callable[[EventBus], Awaitable[R]], servers: str | None, *, service: str | None = None) -> R:
    """Connect, do ``work``, disconnect."""
    settings = Settings.load()
    if service is None and settings.service is None and settings.tls_dir is not None:
        service = REPO  # on a secured bus whoever looks must be somebody

    async def run() -> R:
        async with await connect(servers, service=service) as bus:
            return await work(bus)

    return asyncio.run(run())
