"""After a cut: what is copied is asked for at once.

A stream that copies another site's asks for it again after 10 s, then 20, up to 120 s, and is not told that the site
is back. So it may hear nothing for two minutes more. A source is taken away and given back
(:func:`mts1b_deploy.mirrors.sources.wake`). A mirror cannot be: an update may promote it and change nothing else of it,
and of what was tried (updates, purges, making it again, a step-down) nothing makes it ask but the server's start. A
mirror's server serves nobody, so it is started anew.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from mts1b_deploy.layout import Layout
from mts1b_deploy.mirrors.mirror import has_leaf, leaf_sites, origin_of, stream_infos
from mts1b_deploy.mirrors.sources import site_of, wake
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.streams import connect_as_admin
from mts1b_deploy.supervise.choose import supervision
from mts1b_deploy.supervise.processes import find_server_process

_SILENT_NS: Final = 3_000_000_000
"""Nanoseconds without a sign of life, of which there is one each second, after which a source is not copied from."""
_AGAIN: Final = 5.0
"""Seconds that a stream which was let ask has for the answer."""
_STALLED: Final = 10.0
"""Seconds of silence after which the server counts a copy as cut off; before that it goes on by itself."""
_NANOSECONDS: Final = 1e9


async def wake_sources(
    layout: Layout, record: InstallRecord, every: float, say: Callable[[str], None], *, once: bool
) -> None:
    """Of a hub: let each stream ask again for what an edge has that is connected and silent."""
    asked: dict[str, float] = {}
    async with await connect_as_admin(layout, record) as bus:
        while True:
            connected = await asyncio.to_thread(leaf_sites, record)
            now = time.monotonic()
            waking: list[Coroutine[Any, Any, None]] = []
            for name, info in (await stream_infos(bus)).items():
                silent = _silent(info) & connected
                if silent and now - asked.get(name, -_AGAIN) >= _AGAIN:
                    asked[name] = now
                    waking.append(wake(bus, info, silent))
                    say(f"{', '.join(sorted(silent))} is back: stream {name} asks it again")
            await asyncio.gather(*waking)
            if once:
                return
            await asyncio.sleep(every)


async def wake_mirror(
    layout: Layout, record: InstallRecord, every: float, say: Callable[[str], None], *, once: bool
) -> None:
    """Of a mirror: start its server anew when the other site is connected again after a cut and nothing is heard of it.

    Each time that it is connected again counts once, so a stream that stays silent for another reason does not matter.
    """
    away, site = False, origin_of(record).name
    while not once:
        connected = await asyncio.to_thread(has_leaf, record)
        if not connected and not away:
            say(f"site {site} is not connected: what it stores is not copied")
        elif connected and away:
            say(f"site {site} is connected again")
            if await _longest_silence(layout, record) >= _STALLED:
                await asyncio.to_thread(_start_anew, layout, record, say)
        away = not connected
        await asyncio.sleep(every)


def _silent(info: Mapping[str, Any]) -> set[str]:
    """Sites of which a stream that copies them has heard nothing."""
    return {
        site
        for each in info.get("sources") or ()
        if (site := site_of(each)) is not None and not 0 <= each.get("active", -1) < _SILENT_NS
    }


async def _longest_silence(layout: Layout, record: InstallRecord) -> float:
    """Seconds for which the mirror that has heard nothing the longest has heard nothing."""
    server = await asyncio.to_thread(find_server_process, layout)
    runs_for = time.time() - server.create_time() if server else 0.0
    async with await connect_as_admin(layout, record) as bus:
        heard = [info["mirror"].get("active", -1) for info in (await stream_infos(bus)).values() if info.get("mirror")]
    return max((each / _NANOSECONDS if each >= 0 else runs_for for each in heard), default=0.0)


def _start_anew(layout: Layout, record: InstallRecord, say: Callable[[str], None]) -> None:
    server = find_server_process(layout)
    if server is None or not supervision(record.supervisor).is_enabled(layout):
        say("its streams are asked within two minutes; `mts1b-deploy restart` has it done at once")
        return
    say("the server here starts anew, so that its streams are asked at once")
    server.terminate()
