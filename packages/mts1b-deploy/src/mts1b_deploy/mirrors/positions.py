"""How far each durable of the other site has come, kept here: a mirror copies streams, not their consumers.

The file has every durable with its settings and its ack floor, the sequence up to which everything is acknowledged.
Sequences are equal at both sites, so a durable begins behind its floor at the promoted one. What was acknowledged since
the file was written, or out of order, is delivered once more: readers with a dedupe store skip it.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mts1b_platform.whole_file import write_whole
from pydantic import BaseModel, ConfigDict, ValidationError

from mts1b_deploy.errors import SiteError
from mts1b_deploy.layout import Layout

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

_NOT_CARRIED: Final = frozenset({"deliver_policy", "opt_start_seq", "opt_start_time", "metadata", "num_replicas"})


class Durable(BaseModel):
    """One durable of the other site."""

    model_config = ConfigDict(frozen=True)

    stream: str
    name: str
    floor: int
    """Up to this sequence it has acknowledged everything."""
    config: dict[str, Any]


class Positions(BaseModel):
    """Every durable of a site at one moment."""

    model_config = ConfigDict(frozen=True)

    site: str
    read_at: datetime
    durables: tuple[Durable, ...]

    @property
    def age(self) -> float:
        """Seconds since they were read."""
        return (datetime.now(UTC) - self.read_at).total_seconds()

    @classmethod
    def load(cls, layout: Layout) -> "Positions | None":
        """What was kept last; None when there is nothing.

        Raises:
            SiteError: the file is damaged.
        """
        try:
            return cls.model_validate_json(layout.positions.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise SiteError(
                f"{layout.positions} cannot be understood ({error}): remove it, and every durable begins at the first "
                "stored event"
            ) from error

    def save(self, layout: Layout) -> None:
        """Keep them; a reader sees the old file or the new one."""
        write_whole(layout.positions, self.model_dump_json(indent=1).encode() + b"\n", 0o600)


async def read_positions(bus: "EventBus", site: str, streams: list[str]) -> Positions:
    """Where the durables of ``site`` are now, which ``bus`` is connected to."""
    found: list[Durable] = []
    read_at = datetime.now(UTC)
    for stream in streams:
        found += [
            Durable(stream=stream, name=each["name"], floor=each["ack_floor"]["stream_seq"], config=each["config"])
            for each in await _durables(bus, stream)
        ]
    return Positions(site=site, read_at=read_at, durables=tuple(found))


async def _durables(bus: "EventBus", stream: str) -> list[dict[str, Any]]:
    from mts1b_platform.eventbus.jetstream.api import js_api

    found: list[dict[str, Any]] = []
    seen = 0
    while True:
        page = await js_api(bus, f"CONSUMER.LIST.{stream}", {"offset": seen}, timeout=10)
        consumers: list[dict[str, Any]] = page.get("consumers") or []
        seen += len(consumers)
        found += [each for each in consumers if each["config"].get("durable_name")]
        if seen >= page["total"] or not consumers:
            return found


async def carry_over(bus: "EventBus", positions: Positions, last: dict[str, int]) -> list[tuple[Durable, int]]:
    """Make the durables that are not here yet, each behind its floor; what was made, with its first sequence.

    Args:
        bus: the site that is being promoted.
        positions: where the durables were.
        last: by stream, its last sequence here. A durable that was further at the other site begins behind that: what
            is stored there from now on has not been read by anybody.
    """
    from mts1b_platform.eventbus.jetstream.api import js_api

    made: list[tuple[Durable, int]] = []
    for durable in positions.durables:
        if durable.stream not in last or durable.name in {
            each["name"] for each in await _durables(bus, durable.stream)
        }:
            continue
        start = min(durable.floor, last[durable.stream]) + 1
        told: dict[str, str] = durable.config.get("metadata") or {}
        metadata = {name: value for name, value in told.items() if not name.startswith("_nats.")}
        config: dict[str, Any] = {name: value for name, value in durable.config.items() if name not in _NOT_CARRIED} | {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "metadata": metadata,
        }
        body = {"stream_name": durable.stream, "config": config, "action": "create"}
        await js_api(bus, f"CONSUMER.CREATE.{durable.stream}.{durable.name}", body, timeout=10)
        made.append((durable, start))
    return made
