"""Answering people on the account that only answers: bounded in number, time and size, and always with a word.

Questions are answered side by side. Whoever asks too much is told so at once, and takes nothing from others.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus import EventBus, Message
from mts1b_platform.logs import get_logger

from mts1b_operations.people.asked import INFO, Asked, Declined, read_asked

log = get_logger("mts1b.people")

AT_ONCE: Final = 64
"""Questions under way in all."""
AT_ONCE_EACH: Final = 4
"""Questions under way of one person."""
EXEMPT_EACH: Final = 16
"""Questions under way of one person that are not counted with the others."""
_ROOM: Final = 64 * 1024
"""Bytes below the server's limit that an answer leaves free."""

Handler = Callable[[Asked], Awaitable[Mapping[str, Any]]]


class Responder:
    """Answers ``<prefix>.>`` on ``bus`` by what ``handler`` returns.

    Args:
        bus: the connection that only answers.
        prefix: ``look.v1`` or ``act.v1``.
        handler: makes the answer; raises :class:`Declined`, or any error of ours, which is answered too.
        longest: seconds after which a question is given up.
        exempt: whether a question waits for no others, neither of that person nor of anybody; a halt does not.

    Attributes:
        answered: questions answered.
        declined: questions answered by a refusal.
    """

    def __init__(
        self,
        bus: EventBus,
        prefix: str,
        handler: Handler,
        *,
        longest: float,
        exempt: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.answered = 0
        self.declined = 0
        self._bus = bus
        self._prefix = prefix
        self._handler = handler
        self._longest = longest
        self._exempt = exempt
        self._tasks: set[asyncio.Task[None]] = set()
        self._each: Counter[tuple[str, bool]] = Counter()

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            AccessDenied: the bus does not speak as a responder.
        """
        await self._bus.subscribe(f"{self._prefix}.>", queue=self._prefix.replace(".", "-"), cb=self._arrived)

    async def finish(self) -> None:
        """Return when what is under way is answered."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _arrived(self, msg: Message) -> None:
        task = asyncio.create_task(self._answer(msg), name=f"answer {msg.subject}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, msg: Message) -> None:
        asked: Asked | None = None
        try:
            asked = read_asked(self._prefix, msg.subject, msg.headers.get(INFO), msg.data)
            answer = await self._handled(asked)
            self.answered += 1
        except Declined as declined:
            answer = _error(declined.code, declined.message, declined.what_to_do)
        except Mts1bError as error:
            answer = _error("failed", str(error))
        except TimeoutError:
            answer = _error("too-slow", f"it took longer than {self._longest:g} s and was given up", "ask for less")
        except Exception:
            log.exception("a question was not answered as it should", subject=msg.subject)
            answer = _error("failed", "the responder failed; its log says why", "tell whoever runs it")
        if "error" in answer:
            self.declined += 1
            who = asked.by if asked else "somebody"
            log.warning("declined", person=who, subject=msg.subject, **answer["error"])
        await msg.respond(self._fitting(answer))

    async def _handled(self, asked: Asked) -> dict[str, Any]:
        exempt = self._exempt(asked.what)
        mine, most = (asked.by, exempt), EXEMPT_EACH if exempt else AT_ONCE_EACH
        if self._each[mine] >= most:
            raise Declined("busy", f"{asked.by} has {most} questions under way", "wait for the answer to one of them")
        if not exempt and sum(count for (_, free), count in self._each.items() if not free) >= AT_ONCE:
            raise Declined("busy", f"{AT_ONCE} questions are under way", "ask again in a second")
        self._each[mine] += 1
        try:
            async with asyncio.timeout(self._longest):
                return dict(await self._handler(asked))
        finally:
            self._each[mine] -= 1
            if not self._each[mine]:
                del self._each[mine]

    def _fitting(self, answer: Mapping[str, Any]) -> bytes:
        text = json.dumps(answer, default=str, separators=(",", ":")).encode()
        most = self._bus.max_payload - _ROOM
        if len(text) <= most:
            return text
        return json.dumps(
            _error("too-large", f"the answer has {len(text)} bytes, more than {most}", "ask for less")
        ).encode()


def _error(code: str, message: str, what_to_do: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "what_to_do": what_to_do}}
