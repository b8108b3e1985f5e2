"""The state of the bus and of trading: halts, alerts, consumers, streams, services, dead letters."""

from typing import Literal

from mts1b_console.shapes.base import Answer, Document, Instant, Problem, Shape
from mts1b_console.shapes.events import EventRow, Orders, Refusal


class Obedience(Shape):
    """A service that obeyed a halt."""

    service: str
    canceled_orders: int
    stored_at: Instant
    after_ms: float
    """Since the halt was stored."""


class Halt(Shape):
    """A halt in force."""

    halt_id: str
    fund: str | None
    """Null: every fund."""
    reason: str
    actor: str
    requested_at: Instant
    stored_at: Instant
    on_host: bool
    """Whether a broker's adapter was stopped on its own host: it is ended there, and cannot be cleared from here."""
    obeyed: list[Obedience]
    silent: list[str]
    """Services that should have obeyed and have not said so; none for one on a host."""


class Halts(Answer):
    """``GET /api/halts``."""

    halts: list[Halt] | None = None
    funds: list[str] | None = None
    """The funds that are known, to choose from."""


class Acknowledgement(Shape):
    """Somebody looks after an alert."""

    actor: str
    note: str
    at: Instant


class Alert(Shape):
    """Something beyond its threshold."""

    alert_id: str
    name: str
    """``slow_consumer``, ``dead_letters``, ``discard_risk``, ``stream_missing``, ``certificate_expiry`` …"""
    target: str
    severity: Literal["warning", "critical"]
    value: float
    threshold: float
    unit: str
    summary: str
    raised_at: Instant
    cleared_at: Instant | None
    acknowledged: Acknowledgement | None
    """Who looks after it; null when nobody does, or it was raised with another severity since."""


class Alerts(Answer):
    """``GET /api/alerts``."""

    alerts: list[Alert] | None = None
    """In force, critical ones first."""
    past: list[Alert] | None = None
    """Cleared within the last 30 days, newest first; null when this person reads no history of them."""
    watched: bool | None = None
    """Whether the monitor has said anything within the last two minutes; false: nobody watches, no alert is no news."""


class DiscardRisk(Shape):
    """How near a limit of a stream is to discarding what a consumer has not read."""

    consumer: str
    risk: float
    """Share of the limit that is used up; 1: discarded."""
    limit: str
    seconds_left: float | None
    """At today's rate; null when nothing goes on."""


class Consumer(Shape):
    """A consumer and its lag."""

    stream: str
    consumer: str
    service: str | None
    declared: bool
    seconds: float
    """Age of the oldest event that it has not settled; 0 when none waits."""
    messages: int
    ack_pending: int
    redelivered: int
    pulls: int
    """Pulls that wait: somebody is there to read."""
    reading: Literal["yes", "at work", "nobody", "paused"]
    """Who is there; ``at work``: no pull waits, something is under way."""
    reached: int
    floor: int
    oldest: str | None
    """The oldest event that waits, ``OMS_ORDERS:12044``."""
    oldest_subject: str | None
    filters: list[str]
    durable: bool
    paused: bool
    last_active: Instant | None
    trend: list[float]
    """Its lag in seconds over the last hour, oldest first, a point every 5 s while somebody looks."""
    risk: DiscardRisk | None


class Consumers(Answer):
    """``GET /api/consumers``."""

    consumers: list[Consumer] | None = None
    missing: list[str] | None = None
    """Declared durables that are not on the server, ``stream/durable``."""


class StreamLimits(Shape):
    """What a stream holds at most; null: no limit."""

    messages: int | None
    bytes: int | None
    age_seconds: float | None
    messages_per_subject: int | None


class Drift(Shape):
    """A difference between a declared stream and the one on the server."""

    field: str
    declared: str
    actual: str


class Stream(Shape):
    """A stream."""

    name: str
    subjects: list[str]
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    first_at: Instant | None
    last_at: Instant | None
    consumers: int
    per_second: float | None
    """Events stored a second, between the last two looks; null for the first look."""
    unread: int | None
    """Most events that one of its consumers has not read; null when it has none."""
    full: float
    """Share of the nearest limit that is used, 0 to 1."""
    limits: StreamLimits
    retention: str
    storage: str
    replicas: int
    declared: bool
    drift: list[Drift]
    risks: list[DiscardRisk]


class Streams(Answer):
    """``GET /api/streams``."""

    streams: list[Stream] | None = None
    missing: list[str] | None = None
    """Declared streams that are not on the server."""


class Office(Shape):
    """A durable that several instances read, one of them at a time."""

    stream: str
    group: str
    """The reader's name; of shared keys what its durables begin with."""
    durable: str
    key: str | None
    """Of shared keys, the key."""
    active: str | None
    """Who is handed its messages now; null when nobody is."""
    last_active: str | None
    """Who was last."""
    since: Instant | None
    """Since when somebody is."""
    term: int | None
    """The number of this time in office, or of the last one."""
    takeover_seconds: float
    """From the last sign of life of one instance until another takes over."""
    lag_seconds: float
    messages: int
    pulls: int
    """Pulls that wait on the server: of the active instance and of those that stand by."""


class Groups(Answer):
    """``GET /api/groups``: by stream, group and key."""

    groups: list[Office] | None = None


class Service(Shape):
    """A service, as far as streams and consumers tell of it."""

    name: str
    """The repo, ``mts1b-oms``."""
    reads: int
    """Durables that it reads with."""
    reading: bool | None
    """Whether somebody is there to read with each of them; null when it reads with none."""
    away: list[str]
    """Durables that nobody reads."""
    lag_seconds: float | None
    messages: int | None
    last_event: Instant | None
    """The newest stored event of its streams; null when it stores none."""
    per_second: float | None


class Services(Answer):
    """``GET /api/services``."""

    services: list[Service] | None = None


class Handling(Shape):
    """What a process reads or answers, as it says."""

    name: str
    """The durable; of what is heard as it passes, the subject."""
    subject: str
    handled: int
    """Since the process started, failures among them. Readers of one subject share their counts."""
    errors: int
    seconds_each: float | None
    """That a handler of durable events was at work, on average; null when nobody takes times."""


class Process(Shape):
    """One process on the bus, as it says of itself."""

    service: str
    id: str
    member: str | None
    """The name of this instance, where there are several."""
    version: str
    host: str | None
    pid: str | None
    command: str | None
    started: Instant | None
    certificate_ends: Instant | None
    handles: list[Handling]
    silent_since: Instant | None
    """When it answered last, of one that does not answer any more; it is named for ten minutes."""


class Certificate(Shape):
    """A certificate, and how long it is good."""

    of: str
    where: str | None
    """The host that has it."""
    ends: Instant
    days: float
    """Left; below 0 when it has ended."""


class Processes(Answer):
    """``GET /api/processes``: who answers NATS's service protocol, and whose certificate ends when, the first first."""

    processes: list[Process] | None = None
    certificates: list[Certificate] | None = None
    unreadable: int | None = None
    """Answers that say nothing that can be shown."""


class Note(Shape):
    """What somebody knows about a dead letter, or a group of them."""

    actor: str
    text: str
    at: Instant


class LetterRow(Shape):
    """A dead letter."""

    number: int
    id: str
    reason: str
    subject: str
    stream: str
    sequence: int
    consumer: str
    deliveries: int
    error: str
    stored_at: Instant
    failed_at: Instant
    requeues: int
    keys: dict[str, str]
    note: Note | None
    """Of its own; the group may have one too."""


class LetterGroup(Shape):
    """Dead letters of one consumer with one kind of error."""

    key: str
    """Names the group in links."""
    consumer: str
    reason: str
    error: str
    count: int
    first: Instant
    last: Instant
    subjects: list[str]
    example: str
    """The id of the latest."""
    ids: list[str]
    """All of them, oldest first."""
    trend: list[int]
    """Letters in each of the 24 equal spans between the first and the last of all groups."""
    note: Note | None


class DeadLetters(Answer):
    """``GET /api/deadletters``: groups, the largest first, and the letters, newest first (at most 1,000)."""

    groups: list[LetterGroup] | None = None
    letters: list[LetterRow] | None = None
    unreadable: int | None = None
    """Messages in the stream that are no dead letters."""
    notes_unknown: Problem | None = None
    """Why notes cannot be read; the letters can."""
    complete: bool = False


class Discarded(Answer):
    """``GET /api/deadletters/discarded``: what was discarded within the last week and not restored, newest first."""

    letters: list[LetterRow] | None = None
    complete: bool = False


class LetterOpened(Answer):
    """``GET /api/deadletters/{id}``."""

    letter: LetterRow
    event: EventRow
    """The message that it holds, as its stream had it."""
    payload_text: str
    truncated: bool
    headers: dict[str, str]
    traceback: str | None
    passes: bool
    """Whether the models that are installed here take the message now."""
    refused: Refusal | None
    """Why not."""


class Verdict(Answer):
    """``POST /api/deadletters/verdict`` with ``{"ids": […]}``: would they pass now?"""

    passes: int | None = None
    of: int | None = None
    refused: Refusal | None = None
    """Why the first that does not pass would not."""


class AuditFound(Answer):
    """``GET /api/audit?order_id=…``: records of the logs that lie where looks are answered."""

    records: list[Document] | None = None
    complete: bool = False


class Now(Shape):
    """``GET /api/now``: what needs somebody first. Each part says when it was read, or that it is unknown."""

    alerts: Alerts
    halts: Halts
    orders: Orders
    services: Services
    streams: Streams
    consumers: Consumers
    deadletters: DeadLetters
    """Without the letters themselves."""
