"""Applying the platform's stream definitions to the server that was just installed."""

import asyncio
from dataclasses import dataclass

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.config import Profile

from mts1b_deploy.errors import StreamsFailed
from mts1b_deploy.layout import Layout


@dataclass(frozen=True, slots=True)
class AppliedStream:
    """What was done with one stream: created, updated or unchanged."""

    stream: str
    action: str


def apply_streams(layout: Layout, url: str, profile: Profile) -> list[AppliedStream]:
    """Create what is missing, update what differs; equal definitions send nothing.

    Raises:
        StreamsFailed: the server refused, or an update would have destroyed data.
    """
    try:
        return asyncio.run(_apply(layout, url, profile))
    except Mts1bError as error:
        raise StreamsFailed(f"the server on {url} runs, but its streams could not be applied: {error}") from error


async def _apply(layout: Layout, url: str, profile: Profile) -> list[AppliedStream]:
    # Imported here: `status`, `stop` and `logs` start twice as fast without the bus.
    from mts1b_platform.eventbus import apply_streams as apply
    from mts1b_platform.eventbus import connect

    bus = await connect(servers=url, config=layout.config, profile=profile)
    try:
        changes = await apply(bus, profile=profile)
    finally:
        await bus.close()
    return [AppliedStream(change.stream, change.action) for change in changes]
