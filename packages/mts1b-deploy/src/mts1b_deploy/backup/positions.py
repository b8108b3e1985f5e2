"""Where durables stand, and setting them back.

A backup of everything reads the positions before it saves the state of services, and the streams after it. Restored, a
durable stands behind events that its service has not handled, as far as that state knows. So it is set back to where it
stood before: what is between is delivered again, and a service with a dedupe store in that state skips what it knows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mts1b_deploy.backup.manifest import Position
from mts1b_deploy.backup.streams import PATIENCE

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

_MOVABLE: Final = ("all", "by_start_sequence", "by_start_time")


@dataclass(frozen=True, slots=True)
class SetBack:
    """What became of a durable."""

    stream: str
    durable: str
    service: str | None
    since: int
    """The first sequence that is delivered again."""
    until: int
    """The last one, as far as it had been acknowledged."""
    refused: str | None
    """Why the server does not set it back; None when it was."""


async def read_positions(bus: "EventBus", streams: Sequence[str]) -> list[Position]:
    """Where every durable stands."""
    from mts1b_platform.eventbus.jetstream.api import js_api
    from mts1b_platform.eventbus.jetstream.durables import SERVICE

    found: list[Position] = []
    for stream in streams:
        listed: list[Position] = []
        while True:
            page = await js_api(bus, f"CONSUMER.LIST.{stream}", {"offset": len(listed)}, timeout=PATIENCE)
            listed += [
                Position(
                    stream=stream,
                    durable=info["name"],
                    service=info["config"].get("metadata", {}).get(SERVICE),
                    floor=info["ack_floor"]["stream_seq"],
                )
                for info in page["consumers"] or ()
            ]
            if len(listed) >= page["total"] or not page["consumers"]:
                break
        found += listed
    return found


async def set_back(
    bus: "EventBus", positions: Sequence[Position], *, services: Collection[str] | None = None
) -> list[SetBack]:
    """Set every durable that stands further than its position back to it; ``services``: only theirs.

    Durables that are gone are left out: they have no position to be wrong about.
    """
    from mts1b_platform.eventbus.jetstream.api import ApiError

    now = {
        (each.stream, each.durable): each for each in await read_positions(bus, sorted({p.stream for p in positions}))
    }
    done: list[SetBack] = []
    for then in positions:
        held = now.get((then.stream, then.durable))
        if held is None or held.floor <= then.floor or (services is not None and then.service not in services):
            continue
        refused = None
        try:
            await _move(bus, then.stream, then.durable, then.floor + 1)
        except ApiError as error:
            refused = error.description
        done.append(SetBack(then.stream, then.durable, then.service, then.floor + 1, held.floor, refused))
    return done


async def _move(bus: "EventBus", stream: str, durable: str, seq: int) -> None:
    """Have a durable deliver from ``seq`` on. The server moves only those that began with all, or at a place."""
    from mts1b_platform.eventbus.jetstream.api import js_api

    config = (await js_api(bus, f"CONSUMER.INFO.{stream}.{durable}"))["config"]
    if config.get("deliver_policy", "all") in _MOVABLE:
        await js_api(bus, f"CONSUMER.RESET.{stream}.{durable}", {"seq": seq})
        return
    config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": seq}
    await js_api(bus, f"CONSUMER.DELETE.{stream}.{durable}")
    body = {"stream_name": stream, "config": config, "action": "create"}
    await js_api(bus, f"CONSUMER.CREATE.{stream}.{durable}", body)
