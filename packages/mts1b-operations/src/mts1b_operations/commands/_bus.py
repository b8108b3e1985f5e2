"""What the commands share: a bus for the time of one command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from mts1b_platform.eventbus import EventBus, connect

Servers = Annotated[str | None, typer.Option("--servers", help="NATS URLs; otherwise as configured.")]
R = TypeVar("R")


def on_bus(work: Callable[[EventBus], Awaitable[R]], servers: str | None, *, service: str | None = None) -> R:
    """Connect, do ``work``, disconnect."""

    async def run() -> R:
        async with await connect(servers, service=service) as bus:
            return await work(bus)

    return asyncio.run(run())
