"""Applying the platform's stream definitions to the server that was just installed."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mts1b_foundation.errors import Mts1bError

from mts1b_deploy.errors import StreamsFailed
from mts1b_deploy.layout import Layout
from mts1b_deploy.nodes import address
from mts1b_deploy.profiles import profile_named
from mts1b_deploy.record import InstallRecord

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

ADMIN = "mts1b-deploy"
"""The identity that creates streams and consumers, and publishes no events."""


@dataclass(frozen=True, slots=True)
class AppliedStream:
    """What was done with one stream: created, updated or unchanged."""

    stream: str
    action: str


def apply_streams(layout: Layout, record: InstallRecord) -> list[AppliedStream]:
    """Create what is missing, update what differs; equal definitions send nothing.

    Raises:
        StreamsFailed: the server refused, or an update would have destroyed data.
    """
    try:
        return asyncio.run(_apply(layout, record))
    except Mts1bError as error:
        raise StreamsFailed(
            f"the server on {record.url} runs, but its streams could not be applied: {error}"
        ) from error


async def connect_as_admin(layout: Layout, record: InstallRecord) -> "EventBus":
    """A connection to this very node, with the right to manage streams; raises as :func:`connect_as`."""
    return await connect_as(ADMIN, layout, record)


async def connect_as(service: str, layout: Layout, record: InstallRecord) -> "EventBus":
    """A connection to this very node, by the certificate of ``service`` where there are any.

    Raises:
        Mts1bError: the node cannot be reached, or does not let us in.
    """
    # Imported here: `status`, `stop` and `logs` start twice as fast without the bus.
    from mts1b_platform.eventbus import connect

    here = f"{'tls' if record.secure else 'nats'}://{address(record.probe_host, record.port)}"
    return await connect(
        servers=here,
        service=service if record.secure else None,
        config=layout.config,
        profile=record.profile,
        connect_timeout=20,
    )


async def _apply(layout: Layout, record: InstallRecord) -> list[AppliedStream]:
    from mts1b_platform.eventbus import apply_streams as apply
    from mts1b_platform.eventbus.declared import declared
    from mts1b_platform.eventbus.dedupe.kv import BUCKET, KvDedupe
    from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers
    from mts1b_platform.eventbus.jetstream.apply_streams import wait_for_jetstream

    profile = profile_named(record.profile)
    async with await connect_as_admin(layout, record) as bus:
        await wait_for_jetstream(bus)
        found = declared(record.checkouts)
        changes = await apply(bus, profile=profile.name, streams=found.streams)
        done = [AppliedStream(change.stream, change.action) for change in changes]
        if profile.secure:  # elsewhere services make their durables and the bucket of handled events themselves
            made = await KvDedupe(bus).ensure_bucket()
            done.append(AppliedStream(f"bucket {BUCKET}", "created" if made else "unchanged"))
            done += [
                AppliedStream(f"{change.stream}, durable {change.durable}", change.action)
                for change in await apply_consumers(bus, found.consumers)
            ]
            await KvDedupe(bus).open()  # its bucket is made here: services may only write their keys
    return done
