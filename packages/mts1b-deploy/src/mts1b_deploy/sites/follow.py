"""``mts1b-deploy follow``: what has to be done all the time for one site to stand in for the other.

On a mirror: positions of durables are kept, new streams of the other site get a mirror, and what it missed during
a cut is asked for at once. On a site that a mirror stands in for: the other one is let store nothing when it comes back
after a promotion. On a hub: what an edge stored during a cut is asked for at once.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from mts1b_foundation.errors import Mts1bError

from mts1b_deploy.errors import SiteError
from mts1b_deploy.layout import Layout
from mts1b_deploy.mirrors.mirror import (
    apply_mirrors,
    connect_to,
    origin_of,
    stream_configs,
)
from mts1b_deploy.mirrors.positions import read_positions
from mts1b_deploy.record import InstallRecord, record_of
from mts1b_deploy.sites.guard import fence
from mts1b_deploy.sites.wake import wake_mirror, wake_sources

_NEW_STREAMS: Final = 60.0
"""Seconds between two looks for new streams."""


class _Work(Protocol):
    """Something that is done all the time, or, with ``once``, one time."""

    def __call__(
        self, layout: Layout, record: InstallRecord, every: float, say: Callable[[str], None], *, once: bool
    ) -> Coroutine[Any, Any, None]: ...


async def follow(layout: Layout, *, every: float, say: Callable[[str], None], once: bool = False) -> None:
    """Go on until cancelled; with ``once`` only one time.

    What goes wrong is told to ``say`` when it begins and when it ends, and tried again. What is done is what the
    installation needs now: a mirror that is promoted meanwhile is followed as what it has become.

    Args:
        layout: the installation.
        every: seconds between two looks at the other site.
        say: is told what happens, a line each.
        once: whether one look is enough; then what goes wrong is raised.

    Raises:
        NotInstalled: nothing is installed, or nothing any more.
        SiteError: no other site stands in for this one, and it has no edges.
    """
    while True:
        record = record_of(layout)
        works = _works(record)
        if once:
            for work in works:
                await work(layout, record, every, say, once=True)
            return
        tasks = [asyncio.create_task(_again(work, layout, record, every, say)) for work in works]
        try:
            while record_of(layout) == record:
                done, _ = await asyncio.wait(tasks, timeout=every, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _works(record: InstallRecord) -> list[_Work]:
    if not record.other_sites and not record.edges:
        raise SiteError(f"site {record.site or '(none)'} has neither another one in its place nor edges to follow")
    if record.mirrors:
        return [_keep_positions, wake_mirror]
    return [*([_fence_others] if record.other_sites else []), *([wake_sources] if record.edges else [])]


async def _again(work: _Work, layout: Layout, record: InstallRecord, every: float, say: Callable[[str], None]) -> None:
    """Go on with one kind of work, whatever goes wrong with it."""
    trouble = ""
    while True:
        try:
            await work(layout, record, every, say, once=False)
        except Mts1bError as error:
            if str(error) != trouble:
                say(f"{error}; tried again every {every:g} s")
            trouble = str(error)
        else:
            trouble = ""
        await asyncio.sleep(every)


async def _keep_positions(
    layout: Layout, record: InstallRecord, every: float, say: Callable[[str], None], *, once: bool
) -> None:
    other, looked = origin_of(record), -_NEW_STREAMS
    async with await connect_to(layout, other) as bus:
        streams: list[str] = []
        while True:
            if (now := time.monotonic()) - looked >= _NEW_STREAMS:
                for each in await apply_mirrors(layout, record):
                    if each.action != "unchanged":
                        say(f"{each.action} the mirror of {each.stream}")
                streams, looked = list(await stream_configs(bus)), now
            positions = await read_positions(bus, other.name, streams)
            await asyncio.to_thread(positions.save, layout)
            if once:
                say(f"kept the positions of {len(positions.durables)} durables of site {other.name}")
                return
            await asyncio.sleep(every)


async def _fence_others(
    layout: Layout, record: InstallRecord, every: float, say: Callable[[str], None], *, once: bool
) -> None:
    from mts1b_platform.server.probe import read_info

    del every
    for other in record.other_sites:
        if await asyncio.to_thread(read_info, other.host, other.port, 2.0) is None:
            if once:
                say(f"site {other.name} does not answer: it stores nothing")
            continue
        done = await fence(layout, record, other)
        if done is not None:
            say(
                f"site {other.name} was back and stored: {len(done.streams)} streams there take nothing any more, "
                f"{done.clients} clients were sent away. `mts1b-deploy mirror` there lists what it stored meanwhile"
            )
        elif once:
            say(f"site {other.name} answers, and stores nothing")
