"""The streams: which subjects are stored, for how long, and how often a repeated publish is recognised.

Definitions are written as people say them (``max_age="7d"``) and rendered to what the server wants. Every stream
of verb subjects lists both forms, with and without ``.fund.<fund_id>``: ``*`` matches one token only, so that
the bare form alone would store nothing that is scoped to a fund.

``apply_streams`` creates what is missing, changes only fields that differ, and sends nothing when nothing differs.
Messages are never deleted by it: a change that could destroy some is refused (see ``plan_streams``).
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # the settings' machinery is heavy, and a definition needs none of it
    from mts1b_platform.config import Profile

Stored = Literal["file", "memory"]

_UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}
_OVERFLOW = 2**63
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")


def nanoseconds(duration: str) -> int:
    """``7d``, ``12h``, ``2m``, ``30s`` or ``500ms`` in nanoseconds, as the server counts.

    Raises:
        ValueError: when ``duration`` is written another way.
    """
    match = _DURATION.fullmatch(duration)
    found = int(match[1]) * _UNITS[match[2]] if match is not None and len(match[1]) < 20 else _OVERFLOW
    if found >= _OVERFLOW:
        raise ValueError(
            f"{duration!r} is no duration that a server holds: write a number and one of ms, s, m, h, d, such as 7d"
        )
    return found


_MIB = 1 << 20
_DAY = nanoseconds("1d")


@dataclass(frozen=True, slots=True)
class Volume:
    """How much a stream takes in: what its size on the disk is reckoned from.

    Attributes:
        per_day: events on a busy day.
        event_bytes: of one event as it is stored: payload, headers, subject and the server's own 40 bytes.
    """

    per_day: int = 20_000
    event_bytes: int = 1_000

    def size(self, max_age: str) -> int:
        """Bytes for twice as much as comes within ``max_age``, rounded up to MiB; 16 MiB at least."""
        stored = 2 * self.per_day * self.event_bytes * nanoseconds(max_age) // _DAY
        return max(16, -(-stored // _MIB)) * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDefinition:
    """One stream as this project wants it, independent of the profile.

    Attributes:
        name: the stream's name on the server.
        subjects: NATS patterns that it stores.
        description: one line for people.
        max_age: how long a message is kept.
        max_msgs_per_subject: how many messages a subject keeps; the oldest go first, read or not. -1: no limit.
        duplicate_window: how long a repeated ``Nats-Msg-Id`` is recognised.
        storage: file or memory.
        discard: which end gives way when a limit is reached.
        volume: how much is expected. On the profiles for trading it limits the stream's size, so that no stream takes
            the disk of all others.
    """

    name: str
    subjects: tuple[str, ...]
    description: str
    max_age: str = "7d"
    max_msgs_per_subject: int = 1_000_000
    duplicate_window: str = "2m"
    storage: Stored = "file"
    discard: Literal["old", "new"] = "old"
    volume: Volume = Volume()

    @property
    def max_bytes(self) -> int:
        """The most that it may take on a disk."""
        return self.volume.size(self.max_age)

    def render(self, profile: "Profile") -> dict[str, Any]:
        """The server's configuration of this stream under ``profile``.

        One replica, or three in production. On ``minimal`` the size is not limited: a laptop has no room to reserve.
        """
        limits = {} if profile == "minimal" else {"max_bytes": self.max_bytes}
        return limits | {
            "name": self.name,
            "description": self.description,
            "subjects": list(self.subjects),
            "retention": "limits",
            "max_age": nanoseconds(self.max_age),
            "max_msgs_per_subject": self.max_msgs_per_subject,
            "storage": self.storage,
            "num_replicas": 3 if profile == "production" else 1,
            "discard": self.discard,
            "duplicate_window": nanoseconds(self.duplicate_window),
            "allow_direct": True,
            "allow_atomic": True,
            "allow_batched": True,
        }


def _verbs(*prefixes: str) -> tuple[str, ...]:
    return tuple(form for prefix in prefixes for form in (f"{prefix}.*", f"{prefix}.*.fund.*"))


STREAMS: tuple[StreamDefinition, ...] = (
    StreamDefinition(
        name="OMS_ORDERS",
        subjects=_verbs("mts.v1.oms.orders", "mts.v2.oms.orders"),
        description="Orders, every step of their life.",
        volume=Volume(200_000, 1_100),
    ),
    StreamDefinition(
        name="OMS_FILLS",
        subjects=_verbs("mts.v1.oms.fills", "mts.v2.oms.fills"),
        description="Executions as booked.",
        max_age="30d",
        volume=Volume(50_000, 1_000),
    ),
    StreamDefinition(
        name="BROKERS_FILLS",
        subjects=(
            "mts.v1.brokers.*.fills.raw",
            "mts.v2.brokers.*.fills.raw",
            "mts.v1.brokers.*.orders.canceled",
            "mts.v1.brokers.*.orders.rejected",
        ),
        description="Executions, cancels and rejections as the brokers reported them, in one order.",
        max_age="30d",
        volume=Volume(50_000, 900),
    ),
    StreamDefinition(
        name="RESEARCH_SIGNALS",
        subjects=_verbs("mts.v1.research.signals", "mts.v2.research.signals"),
        description="What strategies want held.",
        volume=Volume(50_000, 800),
    ),
    StreamDefinition(
        name="RISK",
        subjects=_verbs("mts.v1.risk.envelope", "mts.v1.risk.gate"),
        description="Limits in force and the answers of the gate.",
        volume=Volume(100_000, 700),
    ),
    StreamDefinition(
        name="TREASURY_NAV",
        subjects=("mts.v1.treasury.nav.*", "mts.v2.treasury.nav.*"),
        description="Net asset value per fund.",
        max_age="30d",
        volume=Volume(50_000, 900),
    ),
    StreamDefinition(
        name="OPERATIONS_HALTS",
        subjects=(*_verbs("mts.v1.operations.halt", "mts.v1.brokers.halt"), "mts.v1.oms.halt.*"),
        description="Halts, their ends, who obeyed, and adapters stopped on their hosts.",
        max_age="365d",
        volume=Volume(500, 800),
    ),
    StreamDefinition(
        name="OPERATIONS_ALERTS",
        subjects=("mts.v1.operations.alerts.*",),
        description="Alerts of the monitor: raised, acknowledged, cleared.",
        max_age="30d",
        volume=Volume(2_000, 900),
    ),
    StreamDefinition(
        name="OPERATIONS_PROBES",
        subjects=("mts.v1.operations.probes.*",),
        description="What the monitor stores to see that storing works.",
        max_age="1h",
        volume=Volume(20_000, 600),
    ),
    StreamDefinition(
        name="MARKETDATA_SESSIONS",
        subjects=("mts.v1.marketdata.sessions.*", "mts.v2.marketdata.sessions.*"),
        description="Ends of market data sessions, and the prices over each.",
        volume=Volume(2_000, 5_000),
    ),
    StreamDefinition(
        name="DEADLETTERS",
        subjects=("mts.v1.*.deadletters.created",),
        description="Messages that a consumer gave up on.",
        max_age="30d",
        duplicate_window="24h",
        volume=Volume(5_000, 4_000),
    ),
    StreamDefinition(
        name="DEADLETTERS_DISCARDED",
        subjects=("mts.v1.operations.deadletters.discarded",),
        description="Dead letters that were discarded; they can be restored.",
        max_age="7d",
        volume=Volume(5_000, 4_000),
    ),
    StreamDefinition(
        name="DEADLETTERS_NOTES",
        subjects=("mts.v1.operations.deadletters.noted",),
        description="What people wrote down about dead letters.",
        max_age="30d",
        max_msgs_per_subject=5_000,
        volume=Volume(200, 1_000),
    ),
)
