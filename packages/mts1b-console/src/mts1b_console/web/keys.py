"""What the application and its requests carry along, by typed keys."""

from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from mts1b_console.person.person import Door
from mts1b_console.settings import ConsoleSettings
from mts1b_console.web.session import Session, Sessions


@dataclass(slots=True)
class Console:
    """One running console.

    Attributes:
        settings: its settings.
        door: what lets people in.
        sessions: who is signed in.
        hosts: values of ``Host`` that are taken; known when it listens.
    """

    settings: ConsoleSettings
    door: Door
    sessions: Sessions
    hosts: frozenset[str] = field(default_factory=frozenset[str])

    @property
    def tls(self) -> bool:
        """Whether it is served over TLS."""
        return self.settings.tls_pem is not None

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; browsers take ``__Host-`` over TLS only."""
        return "__Host-mts1b" if self.tls else "mts1b"


CONSOLE: Final = web.AppKey("console", Console)
SESSION: Final = web.RequestKey("session", Session)
