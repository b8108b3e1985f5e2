"""Who is signed in, and acting."""

from typing import Literal

from mts1b_console.shapes.base import Answer, Document, Instant, Shape


class Environment(Shape):
    """Which bus this is, for the header of every page."""

    name: str
    color: str
    """A CSS color name or ``#rrggbb``."""


class Rights(Shape):
    """What the server lets this person do. Patterns, as NATS has them."""

    subjects: list[str]
    """What is read, ``mts.*.oms.>``."""
    streams: list[str]
    """Whose history is read."""
    looks: list[str]
    """What is looked up, below ``look.v1.``: ``halts.>``."""
    acts: list[str]
    """What is done, below ``act.v1.``: ``halt.request.>``."""


class Me(Answer):
    """``GET /api/me``. Also answered to nobody: then ``name`` is null, and the browser shows the sign-in."""

    name: str | None
    roles: list[str]
    secured: bool
    """Whether people sign in; false on a bus without authentication."""
    banner: str | None
    """What has to be said on every page."""
    rights: Rights | None
    """Null when the server does not say: then everything is offered, and the server refuses what may not be."""
    read_only: bool
    """Whether no action is offered, whatever the role."""
    token_ends: Instant | None
    csrf: str | None
    """To be sent as header ``X-CSRF`` with every POST, and in the first frame of ``/live``."""
    environment: Environment
    version: str
    connected: bool
    """Whether the connection to the bus stands right now."""
    server: str | None


class SignIn(Shape):
    """``POST /login``: a token, or the one-time code of ``mts1b console open``."""

    token: str | None = None
    code: str | None = None


class ActRequest(Shape):
    """``POST /api/act/{noun}/{verb}``.

    Actions: ``halt/request``, ``halt/clear``, ``deadletters/requeue``, ``deadletters/discard``,
    ``deadletters/restore``, ``deadletters/note``, ``alerts/acknowledge``.
    With ``preview`` nothing is done. Otherwise ``request_id`` is needed (16 letters, made when the dialog opens;
    the same one twice is one action); what adds risk needs ``digest``, ``reason`` (10 letters) and ``typed`` as well.
    """

    preview: bool = False
    fund: str | None = None
    """For which fund; null for all of them."""
    request_id: str | None = None
    digest: str | None = None
    reason: str | None = None
    typed: str | None = None
    halt_id: str | None = None
    """For ``halt/clear``."""
    ids: list[str] | None = None
    """For ``deadletters/…``: at most 100 letters, or 1,000 of a run."""
    run: bool = False
    """For ``deadletters/…``: the responders carry it through; ``GET /api/deadletters/runs`` says how far it is."""
    first: int = 0
    """Of a run: so many letters are done first, then it waits for a word; 0: it goes through."""
    run_id: str | None = None
    """With ``order``: which run; nothing else is needed."""
    order: Literal["go-on", "stop", "end"] | None = None
    undo: str | None = None
    """For ``deadletters/restore``, in place of ``ids``: the run that discarded them."""
    to: str | None = None
    """For ``deadletters/requeue``: ``consumer`` (the durable that gave up) or ``subject`` (everybody)."""
    force: bool | None = None
    alert_id: str | None = None
    """For ``alerts/acknowledge``."""
    note: str | None = None
    """For ``alerts/acknowledge``: what is known or being done; may be left out. For ``deadletters/note``: what is
    known; left out, it takes the note away."""
    about: str | None = None
    """For ``deadletters/note``: the id of a letter, or the key of a group."""


class ActPreview(Answer):
    """What an action would do."""

    words: str
    facts: Document
    digest: str
    adds_risk: bool
    typed: str
    """What has to be typed to confirm, ``requeue 37``; empty when nothing has."""
    command: str
    """The same from a terminal, to copy."""


class ActDone(Answer):
    """What was done. The effect is to be seen in what is stored, not in this answer."""

    request_id: str
    by: str
    state: str
    again: bool
    """Whether it had been done before under the same request id."""
    result: Document
    """``{"halt": {…}, "held": true}``; ``{"halt_id", "cleared"}``; ``{"done": [{"id","detail"}], "refused":
    [{"id","why"}]}``; of a run ``{"run_id"}``."""
