"""Sessions: which browser is which person. In memory only, so that a restart signs everybody out."""

import hmac
import secrets
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused

MOST: Final = 500
"""Sessions at a time."""
IDLE: Final = 12 * 3600.0
"""Seconds without a request after which a session ends."""
CODE_LASTS: Final = 30.0
"""Seconds for which a one-time code is good."""
ATTEMPTS: Final = 10
"""Attempts to sign in from one address within a minute."""
_MINUTE: Final = 60.0
_MOST_CODES: Final = 100


@dataclass(slots=True)
class Session:
    """One browser that is signed in.

    Attributes:
        id: the cookie's value.
        csrf: what the page sends along with whatever changes something.
        person: who it is.
        used: when it was last used, on the clock of the sessions.
        ending: what is called when the session ends: the live connections of its pages.
    """

    id: str
    csrf: str
    person: Person
    used: float
    ending: set[Callable[[], Awaitable[object]]] = field(default_factory=set[Callable[[], Awaitable[object]]])

    def is_csrf(self, given: str) -> bool:
        """Whether this is the page's own token."""
        return hmac.compare_digest(self.csrf.encode(), given.encode())


class Sessions:
    """The sessions of a console.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._codes: dict[str, tuple[float, str]] = {}
        self._attempts: defaultdict[str, deque[float]] = defaultdict(deque)

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self, person: Person) -> Session:
        """A new session of ``person``. Where nobody signs in, it takes the place of the one that is idle longest.

        Raises:
            Refused: there are too many.
        """
        await self._sweep()
        if len(self._sessions) >= MOST:
            if person.secured:
                raise Refused(503, "busy", f"{MOST} sessions are open", "sign out somewhere, or wait")
            await self.close(min(self._sessions.values(), key=lambda each: each.used))
        made = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), person, self._clock())
        self._sessions[made.id] = made
        return made

    def get(self, name: str | None) -> Session | None:
        """The session of a cookie; None when it has ended, or never was."""
        found = self._sessions.get(name or "")
        if found is not None:
            if self._clock() - found.used > IDLE:
                return None
            found.used = self._clock()
        return found

    async def close(self, session: Session) -> None:
        """End a session, with its live connections and, when a token was its own, its connection to the bus."""
        self._sessions.pop(session.id, None)
        for end in list(session.ending):
            await end()
        if session.person.secured:
            await session.person.close()

    async def close_all(self) -> None:
        """End every session."""
        for session in list(self._sessions.values()):
            await self.close(session)

    def hand_over(self, token: str) -> str:
        """A code that stands for ``token`` once, within 30 seconds.

        Raises:
            Refused: too many wait to be used.
        """
        now = self._clock()
        self._codes = {code: held for code, held in self._codes.items() if now - held[0] <= CODE_LASTS}
        if len(self._codes) >= _MOST_CODES:
            raise Refused(429, "busy", "too many codes wait to be used", "wait half a minute")
        code = secrets.token_urlsafe(24)
        self._codes[code] = now, token
        return code

    def token_of(self, code: str) -> str:
        """The token that a code stands for; it stands for nothing afterwards.

        Raises:
            Refused: it stands for none.
        """
        held = self._codes.pop(code, None)
        if held is None or self._clock() - held[0] > CODE_LASTS:
            raise Refused(401, "code-ended", "this code was used before, or has ended", "`mts1b console open` again")
        return held[1]

    def count_attempt(self, address: str) -> None:
        """Take note of an attempt to sign in.

        Raises:
            Refused: there were too many from this address.
        """
        now = self._clock()
        if len(self._attempts) > 10_000:
            self._attempts.clear()
        lately = self._attempts[address]
        while lately and now - lately[0] > _MINUTE:
            lately.popleft()
        if len(lately) >= ATTEMPTS:
            raise Refused(
                429,
                "too-often",
                f"{ATTEMPTS} attempts to sign in within a minute",
                f"wait {_MINUTE - now + lately[0]:.0f} s",
            )
        lately.append(now)

    async def _sweep(self) -> None:
        now = self._clock()
        for session in [each for each in self._sessions.values() if now - each.used > IDLE]:
            await self.close(session)
