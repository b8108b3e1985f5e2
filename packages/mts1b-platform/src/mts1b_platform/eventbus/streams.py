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
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")


def nanoseconds(duration: str) -> int:
    """``7d``, ``12h``, ``2m``, ``30s`` or ``500ms`` in nanoseconds, as the server counts.

    Raises:
        ValueError: when ``duration`` is written another way.
    """
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is no duration: write a number and one of ms, s, m, h, d, such as 7d")
    return int(match[1]) * _UNITS[match[2]]


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
    """

    name: str
    subjects: tuple[str, ...]
    description: str
    max_age: str = "7d"
    max_msgs_per_subject: int = 1_000_000
    duplicate_window: str = "2m"
    storage: Stored = "file"
    discard: Literal["old", "new"] = "old"

    def render(self, profile: "Profile") -> dict[str, Any]:
        """The server's configuration of this stream under ``profile``: one replica, or three in production."""
        return {
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
    ),
    StreamDefinition(
        name="OMS_FILLS",
        subjects=_verbs("mts.v1.oms.fills", "mts.v2.oms.fills"),
        description="Executions as booked.",
        max_age="30d",
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
    ),
    StreamDefinition(
        name="RESEARCH_SIGNALS",
        subjects=_verbs("mts.v1.research.signals", "mts.v2.research.signals"),
        description="What strategies want held.",
    ),
    StreamDefinition(
        name="RISK",
        subjects=_verbs("mts.v1.risk.envelope", "mts.v1.risk.gate"),
        description="Limits in force and the answers of the gate.",
    ),
    StreamDefinition(
        name="TREASURY_NAV",
        subjects=("mts.v1.treasury.nav.*", "mts.v2.treasury.nav.*"),
        description="Net asset value per fund.",
        max_age="30d",
    ),
    StreamDefinition(
        name="OPERATIONS_HALTS",
        subjects=(*_verbs("mts.v1.operations.halt"), "mts.v1.oms.halt.*"),
        description="Halts, their ends, and who obeyed.",
        max_age="365d",
    ),
    StreamDefinition(
        name="OPERATIONS_ALERTS",
        subjects=("mts.v1.operations.alerts.*",),
        description="Alerts of the monitor, raised and cleared.",
        max_age="30d",
    ),
    StreamDefinition(
        name="OPERATIONS_PROBES",
        subjects=("mts.v1.operations.probes.*",),
        description="What the monitor stores to see that storing works.",
        max_age="1h",
    ),
    StreamDefinition(
        name="MARKETDATA_SESSIONS",
        subjects=("mts.v1.marketdata.sessions.*", "mts.v2.marketdata.sessions.*"),
        description="Ends of market data sessions.",
    ),
    StreamDefinition(
        name="DEADLETTERS",
        subjects=("mts.v1.*.deadletters.created",),
        description="Messages that a consumer gave up on.",
        max_age="30d",
        duplicate_window="24h",
    ),
)
