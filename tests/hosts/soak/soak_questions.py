"""Questions and answers through all faults: in quiet times each is answered, at all times no answer is another's."""

import asyncio
from collections import Counter
from typing import Final

from mts1b_platform.eventbus import EventBus, ServerUnavailable
from mts1b_platform.eventbus.connection.messages import Message
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout
from soak_gate import Gate
from soak_nodes import until

SUBJECT: Final = "svc.v1.marketdata.soak"
_PAUSE: Final = 0.1


class Questions:
    """The asking side and its book."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.number = 0
        self.outcomes: Counter[str] = Counter()
        self.complaints: list[str] = []

    async def ask_on(self, bus: EventBus) -> None:
        """Endless."""
        while True:
            async with self._gate:
                await self.ask(bus)
            await asyncio.sleep(_PAUSE)

    async def ask(self, bus: EventBus, timeout: float = 2.0) -> bool:
        """Ask once; says whether there was an answer."""
        self.number += 1
        question = b"question %d" % self.number
        try:
            answer = await bus.request(SUBJECT, question, timeout=timeout)
        except (NoResponders, RequestTimeout, ServerUnavailable) as error:
            self.outcomes[type(error).__name__] += 1
            return False
        if answer.data != question[::-1]:
            self.complaints.append(f"{question!r} was answered with {answer.data!r}")
        self.outcomes["answered"] += 1
        return True

    async def all_are_answered(self, bus: EventBus, count: int, within: float) -> list[str]:
        """Complaints about ``count`` questions that are asked while nothing is wrong."""
        await until(lambda: self.ask(bus), within)
        answered = [await self.ask(bus, within) for _ in range(count)]
        return [] if all(answered) else [f"{answered.count(False)} of {count} questions had no answer in quiet times"]


async def answer(message: Message) -> None:
    """The answering side: the question backwards."""
    await message.respond(message.data[::-1])
