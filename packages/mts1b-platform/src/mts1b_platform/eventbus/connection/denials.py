"""What the server refuses, as errors of those who asked.

nats-server tells of a refused publish or subscription on the side, by an error line that names the subject; whoever
asked would learn nothing (core) or wait for an answer until its time is over (JetStream). Here those who wait say on
which subject, and a refusal of that subject ends their waiting with :class:`AccessDenied`. A publish nobody waits for
is remembered: for a second, publishing on the subject raises; after that the server is asked again, as permissions
may have changed.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, Literal

from mts1b_platform.eventbus.errors import AccessDenied, raise_first

Action = Literal["publish", "subscribe"]

REMEMBERED: Final = 1.0
"""Seconds for which a refusal is taken to hold."""
_MOST: Final = 1024
_SEEN_ELSEWHERE: Final = ("$JS.ACK.", "$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.CONSUMER.UNPIN.")
"""Answers and pulls of consumers, which see for themselves, and what they give back, which ends by itself too."""

_REFUSAL = re.compile(
    r'permissions violation for (?P<action>publish with reply of|publish|subscription)(?: to)? "(?P<subject>[^"]*)"',
    re.IGNORECASE,
)


class Denials:
    """The refusals of one connection. Belongs to its event loop.

    Args:
        identity: names this process in errors.
        remedy: says what to do about a refusal.
    """

    __slots__ = ("_identity", "_pending", "_remedy", "_remembered", "_watchers", "count", "recent")

    def __init__(self, identity: Callable[[], str], remedy: Callable[[], str]) -> None:
        self.count = 0
        self.recent = False
        """Whether something was refused within the last second; looked at on the hot path."""
        self._identity = identity
        self._remedy = remedy
        self._pending: AccessDenied | None = None
        self._watchers: dict[Action, dict[str, list[Callable[[AccessDenied], None]]]] = {"publish": {}, "subscribe": {}}
        self._remembered: dict[tuple[Action, str], tuple[float, AccessDenied]] = {}

    def on_error(self, words: str) -> AccessDenied | None:
        """Take an error line of the server; None when it is no refusal."""
        match = _REFUSAL.search(words)
        if match is None:
            return None
        action: Action = "subscribe" if match["action"].lower() == "subscription" else "publish"
        subject = match["subject"]
        error = self.error(action, subject)
        self.count += 1
        loop = asyncio.get_running_loop()
        if len(self._remembered) < _MOST:
            self._remembered[action, subject] = (loop.time() + REMEMBERED, error)
            self.recent = True
            loop.call_later(REMEMBERED, self._forget)
        watched = self._watchers[action]
        callbacks = watched.get(subject, ())
        if not callbacks:  # nats-py hands error lines on in lower case
            callbacks = [each for name, those in watched.items() if name.lower() == subject for each in those]
        if not callbacks and action == "publish" and not subject.startswith(_SEEN_ELSEWHERE):
            self._pending = error
        for callback in list(callbacks):
            callback(error)
        return error

    def raise_pending(self) -> None:
        """Raise the latest refusal of a publish that nobody has been told of yet.

        Raises:
            AccessDenied: there is one.
        """
        told, self._pending = [self._pending], None
        raise_first(told)

    def check(self, action: Action, subject: str) -> None:
        """Raise when this was refused within the last second.

        Raises:
            AccessDenied: it was.
        """
        found = self._remembered.get((action, subject))
        if found is not None and found[0] > asyncio.get_running_loop().time():
            self._pending = None
            raise self.error(action, subject)

    def on(self, action: Action, subject: str, callback: Callable[[AccessDenied], None]) -> Callable[[], None]:
        """Call ``callback`` when this is refused; returns what takes it off again."""
        self.add(action, subject, callback)
        return lambda: self.remove(action, subject, callback)

    def add(self, action: Action, subject: str, callback: Callable[[AccessDenied], None]) -> None:
        """Call ``callback`` when this is refused, until it is removed."""
        watchers = self._watchers[action]
        if (those := watchers.get(subject)) is None:
            watchers[subject] = [callback]
        else:
            those.append(callback)

    def remove(self, action: Action, subject: str, callback: Callable[[AccessDenied], None]) -> None:
        """Undo :meth:`add`; does nothing when it was undone."""
        watchers = self._watchers[action]
        those = watchers.get(subject, [])
        if callback in those:
            those.remove(callback)
            if not those:
                del watchers[subject]

    def watch(self, subject: str, action: Action = "publish") -> "Watch":
        """A block in which a refusal of ``subject`` interrupts whatever is awaited, with :class:`AccessDenied`."""
        return Watch(self, action, subject)

    def error(self, action: Action, subject: str) -> AccessDenied:
        """What to raise when this was refused."""
        who = self._identity()
        may = "publish on" if action == "publish" else "subscribe to"
        return AccessDenied(f"{subject}: {who} may not {may} it; the server refuses. {self._remedy()}")

    def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        self._remembered = {key: held for key, held in self._remembered.items() if held[0] > now}
        self.recent = bool(self._remembered)


class Watch:
    """What :meth:`Denials.watch` returns. On the hot path of publishing, hence no generator."""

    __slots__ = ("_action", "_denials", "_refused", "_subject", "_task")

    def __init__(self, denials: Denials, action: Action, subject: str) -> None:
        self._denials = denials
        self._action: Action = action
        self._subject = subject
        self._refused: AccessDenied | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._denials.add(self._action, self._subject, self)

    def __call__(self, _: AccessDenied) -> None:
        """The subject was refused."""
        if self._refused is None and self._task is not None:
            self._refused = self._denials.error(self._action, self._subject)
            self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._denials.remove(self._action, self._subject, self)
        if self._refused is None or self._task is None:
            return
        # More cancellations than ours: somebody else wants this task to end.
        others = self._task.uncancel() > 0
        if kind is None or (error is not None and isinstance(error, asyncio.CancelledError) and not others):
            try:
                raise self._refused from None
            finally:
                self._refused = None
