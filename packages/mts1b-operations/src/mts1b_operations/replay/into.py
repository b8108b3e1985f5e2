"""Publishing recorded events on another bus: in their order, at their pace, each stored before it counts."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from mts1b_foundation.subjects import Registry
from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout, ServerUnavailable
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.frames import hpub_frame

from mts1b_operations.replay.message import head_of
from mts1b_operations.replay.pace import Pace
from mts1b_operations.replay.recording import Origin, origin_of

_WINDOW: Final = 256
"""Durable events under way at a time."""
_TIMEOUT: Final = 5.0
_ATTEMPTS: Final = 5
_PROBE: Final = 0.3
"""Seconds in which a message would come back over a bus that is the same."""


class ReplayError(BusError):
    """Events cannot be replayed there."""


@dataclass(slots=True)
class Replayed:
    """What a replay has done so far."""

    published: int = 0
    stored: int = 0
    duplicates: int = 0
    """Events that the target's stream knew by their message id."""
    nowhere: Counter[str] = field(default_factory=Counter[str])
    """Durable events that no stream of the target stores, by subject."""


async def refuse_the_same_bus(target: EventBus, origin: Origin, source: EventBus | None) -> None:
    """Make sure that ``target`` is not the bus that the events come from.

    A message that is published there must not arrive here, over whatever cluster, gateway or leaf node; and no stream
    there may have been created at the very moment of one of the origin's.

    Raises:
        ReplayError: it is the same bus.
    """
    there = await origin_of(target)
    same = sorted(name for name, created in origin.items() if there.get(name) == created)
    if same:
        raise ReplayError(
            f"{target.connected_url} is the bus that the events come from ({', '.join(same[:3])} was created at the "
            "same moment): replay into another one, or leave --into out for a server of the replay's own"
        )
    if source is None:
        return
    inbox = source.new_inbox()
    heard = await source.subscribe(inbox)
    await source.flush()
    try:
        await target.publish(inbox, b"is this the same bus?")
        await target.flush()
        await heard.next_msg(_PROBE)
    except RequestTimeout:
        return
    finally:
        await heard.unsubscribe()
    raise ReplayError(
        f"what is published at {target.connected_url} arrives on the bus that the events come from: replay into "
        "another one, or leave --into out for a server of the replay's own"
    )


class Replay:
    """Publishes recorded events.

    Args:
        target: the other bus.
        registry: what tells durable subjects from others.
        speed: as for :class:`Pace`.
    """

    def __init__(self, target: EventBus, registry: Registry, *, speed: float | None) -> None:
        self._target = target
        self._registry = registry
        self._pace = Pace(speed)
        self._under_way: deque[asyncio.Task[None]] = deque()
        self.replayed = Replayed()

    async def run(
        self,
        events: AsyncIterable[list[Recorded]],
        stop: asyncio.Event,
        progress: Callable[[Replayed], object] = lambda _: None,
    ) -> None:
        """Publish ``events`` in their order; returns when all that is durable is stored, or ``stop`` is set.

        Raises:
            ReplayError: the target did not store an event.
            AccessDenied: the target does not let this identity publish it.
        """
        loop = asyncio.get_running_loop()
        try:
            async for batch in events:
                for recorded in batch:
                    if (wait := self._pace.wait(recorded.time_ns, loop.time())) > 0:
                        try:
                            async with asyncio.timeout(wait):
                                await stop.wait()
                        except TimeoutError:
                            pass
                    if stop.is_set():
                        break
                    await self._publish(recorded)
                progress(self.replayed)
                if stop.is_set():
                    break
            while self._under_way:
                await self._under_way.popleft()
            await self._target.flush()
        finally:
            for task in self._under_way:
                task.cancel()

    async def _publish(self, recorded: Recorded) -> None:
        subject = recorded.wire.subject.decode(errors="surrogateescape")
        registered = self._registry.find(subject)
        head = head_of(recorded)
        if registered is not None and registered.tier.durable:
            if len(self._under_way) >= _WINDOW:
                await self._under_way.popleft()
            self._under_way.append(asyncio.create_task(self._store(subject, head, recorded)))
            await asyncio.sleep(0)  # it goes out before the next one
        else:
            self._target.connection.send(hpub_frame(recorded.wire.subject, head, recorded.wire.payload, b""))
            if self._target.connection.above_high_water:
                await self._target.connection.writable()
        self.replayed.published += 1

    async def _store(self, subject: str, head: bytes, recorded: Recorded) -> None:
        with self._target.denials.watch(subject):
            document = await self._asked(subject, head, recorded)
        if document is None:
            self.replayed.nowhere[subject] += 1
            return
        if (error := document.get("error")) is not None:
            raise ReplayError(
                f"{recorded.stream}:{recorded.seq} on {subject}: the target's stream refuses it: "
                f"{error.get('description')}"
            )
        self.replayed.stored += 1
        self.replayed.duplicates += bool(document.get("duplicate"))

    async def _asked(self, subject: str, head: bytes, recorded: Recorded) -> dict[str, Any] | None:
        """The stream's answer; None when no stream takes it."""
        for attempt in range(_ATTEMPTS):
            try:
                answer = await self._target.connection.request(
                    subject, recorded.wire.payload, timeout=_TIMEOUT, headers=head
                )
                return json.loads(answer.payload)
            except NoResponders:
                return None
            except (RequestTimeout, ServerUnavailable) as error:  # stored or not: its message id tells the stream
                if attempt == _ATTEMPTS - 1:
                    raise ReplayError(
                        f"{recorded.stream}:{recorded.seq} on {subject}: no ack from the target: {error}"
                    ) from None
                await self._target.wait_connected(_TIMEOUT)
        return None
