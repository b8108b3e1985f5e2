"""How a service reads an input: from a durable, acknowledged when its effects are stored, or followed in one piece."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from mts1b_platform.eventbus import Consumer, Event, EventBus, RetryPolicy
from mts1b_platform.eventbus.jetstream.api import js_api

from mts1b_desk.declared import ACK_WAIT, TAKEOVER, Input
from mts1b_desk.protocol import Durable

_RETRY = RetryPolicy(max_deliveries=1_000, base=0.1, cap=1.0)
"""Crashes must not use up deliveries: what the core cannot handle is a dead letter at once (``keeper.py``)."""
_FORGOTTEN_AFTER = 600.0
"""Seconds after which the server forgets the durables of a run whose state is not kept."""
_POLL = 0.02


class Reading(Protocol):
    """One input of a service, being read."""

    @property
    def place(self) -> Durable:
        """The consumer on the server, and how much of it is handled."""
        ...

    async def start(self) -> None:
        """Begin to read."""
        ...

    async def caught_up(self) -> None:
        """Wait until everything that is stored is handled."""
        ...

    async def run(self) -> None:
        """Have the events handled, until the bus drains."""
        ...


class Acknowledged:
    """An input that is read with a durable.

    Args:
        bus: where it is read.
        wanted: the input.
        durable: name of the durable.
        handle: handles an event, and those behind it in the same transaction.
        kept: whether the durable is to outlive the run.
        instances: whether another instance may take over.
    """

    def __init__(
        self,
        bus: EventBus,
        wanted: Input,
        durable: str,
        handle: Callable[[Event[Any], Callable[[], Awaitable[Sequence[Event[Any]]]]], Awaitable[None]],
        *,
        kept: bool,
        instances: bool,
    ) -> None:
        options: dict[str, Any] = {"instances": "standby", "takeover": TAKEOVER} if instances else {}
        self._bus = bus
        self._handle = handle
        self._consumer: Consumer[Any] = bus.consume(
            *wanted.subjects,
            durable=durable,
            policy=_RETRY,
            deliver=wanted.deliver,
            prefetch=64,
            ack_wait=ACK_WAIT,
            inactive_threshold=None if kept else _FORGOTTEN_AFTER,
            ordered_by=_one_order,
            **options,
        )

    @property
    def place(self) -> Durable:
        """The durable; what it has handled, the server knows."""
        return Durable(stream=self._consumer.stream, name=self._consumer.durable)

    async def start(self) -> None:
        """Find or create the durable."""
        await self._consumer.start()

    async def caught_up(self) -> None:
        """Wait until the durable has nothing to deliver and nothing delivered that is not acknowledged."""
        while True:
            info = await js_api(self._bus, f"CONSUMER.INFO.{self._consumer.stream}.{self._consumer.durable}")
            if not info["num_pending"] and not info["num_ack_pending"]:
                return
            await asyncio.sleep(_POLL)

    async def run(self) -> None:
        """Have the events handled, until the bus drains."""
        consumer = self._consumer

        async def handle(event: Event[Any]) -> None:
            await self._handle(event, lambda: consumer.behind(event))

        await consumer.run(handle)


class Followed:
    """An input of a service whose state is in memory: nothing is acknowledged."""

    def __init__(
        self, bus: EventBus, wanted: Input, name: str, handle: Callable[[Event[Any]], Awaitable[None] | None]
    ) -> None:
        self._follower = bus.follow(
            *wanted.subjects, name=name, handle=handle, deliver=wanted.deliver, inactive_threshold=_FORGOTTEN_AFTER
        )

    @property
    def place(self) -> Durable:
        """The consumer, and how many of its deliveries are handled."""
        return Durable(stream=self._follower.stream, name=self._follower.name, handled=self._follower.done)

    async def start(self) -> None:
        """Begin to read; what comes waits."""
        await self._follower.start()

    async def caught_up(self) -> None:
        """Wait until everything that is stored is handled."""
        await self._follower.caught_up()

    async def run(self) -> None:
        """Have the events handled, until the bus drains."""
        await self._follower.run()


def _one_order(_: Any) -> str:
    """Everything that a durable reads is handled in the order of its stream."""
    return ""
