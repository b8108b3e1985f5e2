"""Pinned consumers: the server hands the messages of a durable to one client at a time; in bytes, sans-io.

It gives the pin with a message, in a header of each, to whoever's pull it serves next while nobody has it. From then on
only pulls that carry the pin's id are served, the others wait. The pin is over when none of these has come for the
durable's ``priority_timeout``. Acks are not bound to it.
"""

from collections.abc import Mapping
from typing import Any, Final

PIN_GROUP: Final = "ordered"
"""The one priority group of a pinned durable."""
PINNED: Final = "pinned_client"
"""The priority policy of a pinned durable."""
PIN_LOST: Final = 423
"""The status of a pull whose pin is not, or not any more, that of the server."""

_LINE: Final = b"\r\nNats-Pin-Id: "
_SECOND: Final = 1_000_000_000


def pin_of(head: bytes) -> str:
    """The pin under which a message was delivered; empty without one.

    The server sets the header itself, last: what a publisher wrote under this name stands before it.
    """
    at = head.rfind(_LINE)
    if at < 0:
        return ""
    at += len(_LINE)
    return head[at : head.index(b"\r\n", at)].decode("ascii", "replace").strip()


def is_pinned(config: Mapping[str, Any]) -> bool:
    """Whether the durable with this configuration is a pinned one."""
    return config.get("priority_policy") == PINNED


def pinning(takeover: float) -> dict[str, Any]:
    """What makes a durable pinned, as fields of its configuration; ``takeover`` in seconds."""
    return {
        "priority_groups": [PIN_GROUP],
        "priority_policy": PINNED,
        "priority_timeout": int(takeover * _SECOND),
    }


def not_pinned() -> dict[str, Any]:
    """What makes a durable plain again."""
    return {"priority_groups": [], "priority_policy": "none", "priority_timeout": 0}


def takeover_of(config: Mapping[str, Any]) -> float:
    """Seconds after the last sign of life of the pinned client until another is pinned."""
    return config.get("priority_timeout", 0) / _SECOND


def pinned_client(info: Mapping[str, Any]) -> str:
    """The pin that is in force by a ``CONSUMER.INFO``; empty when nobody has it."""
    return _group(info).get("pinned_client_id", "")


def pinned_at(info: Mapping[str, Any]) -> str | None:
    """Since when it is in force, RFC 3339; None when nobody has it."""
    group = _group(info)
    return group.get("pinned_ts") if group.get("pinned_client_id") else None


def _group(info: Mapping[str, Any]) -> dict[str, Any]:
    groups: list[dict[str, Any]] = info.get("priority_groups") or []
    ours = [each for each in groups if each.get("group") == PIN_GROUP]
    return ours[0] if ours else {}
