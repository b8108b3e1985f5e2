"""The simulation finds what the mends of the bus mend: it is asked with each of them taken out."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mts1b_platform.eventbus.consuming.consumer import Consumer
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.consuming.settling import Settler
from mts1b_platform.eventbus.consuming.tries import Tries
from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.errors import JetStreamUnavailable, NoResponders, ServerUnavailable
from mts1b_platform.eventbus.events.event import Event, LiveEvent
from mts1b_platform.eventbus.jetstream.api import ApiError, Requester
from mts1b_platform.eventbus.lease import Lease, Watched
from mts1b_platform.eventbus.protocol import parser
from mts1b_platform.eventbus.protocol.position import MessageKey, Position
from mts1b_platform.handling import handled

from simulation.plan import Plan, make_plan
from simulation.run import simulate

_BUS = "mts1b_platform.eventbus"
_SEEDS = 160


async def _hold_nothing(_: Prefetch) -> None:
    """Nothing is sorted at the start of a reader."""


def _recognise_nothing(*_: Any) -> bool:
    """What this process holds or has acknowledged is handed out again."""
    return False


async def _count_deliveries(_: Tries, event: Event[Any], most: int) -> int:
    """Deliveries are taken for tries."""
    del most
    return event.deliveries


def _forget_the_dead(of: Settler, event: Event[Any], answer: bytes, *, dead: bool = False) -> None:
    """The tries of a dead letter are removed, as those of an event that was handled."""
    del dead
    _SETTLE(of, event, answer)


_SETTLE = Settler.settle


def _tell_nobody(_: Settler, event: Event[Any]) -> None:
    """Whoever waits for the end of a suspect waits for ever."""
    del event


def _leave_as_entered(event: LiveEvent[Any], error: BaseException | None) -> None:
    """The context is reset, which only the one that was entered may be."""
    del error
    token, _ = event._entered
    handled.reset(token)


async def _run_beside(
    consumer: Consumer[Any],
    handler: Callable[[Event[Any]], Awaitable[None]],
    *,
    concurrency: int = 1,
    effects: Any = None,
) -> None:
    """Who is cancelled leaves his handlers at work."""
    del effects

    async def work() -> None:
        async for event in consumer:
            async with event:
                await handler(event)

    await asyncio.wait([asyncio.create_task(work()) for _ in range(concurrency)])


def _go_on_reading(*_: Any) -> None:
    """A consumer that nobody refers to is not stopped."""


def _split_anywhere(of: parser.Parser, line: bytes) -> Any:
    """Whatever ``bytes.split`` takes for a blank parts the words of a line."""
    words = line.split()
    if words[0] in {b"MSG", b"HMSG"} and b" ".join(words) != line:
        return f"unknown protocol line {line[:80]!r}"
    return _READ_LINE(of, line)


_READ_LINE = parser.Parser._read_line


class _NoRefusal(Exception):
    """No answer of the server is one."""


def _sequence_alone(position: Position) -> MessageKey:
    """A message is named by its sequence, whenever it was stored."""
    return position.seq, 0


async def _ask_once(
    client: Requester, verb: str, body: dict[str, Any] | None = None, *, timeout: float = 5.0
) -> dict[str, Any]:
    """A question that was lost is not asked again."""
    try:
        answer = await client.request(f"$JS.API.{verb}", json.dumps(body).encode() if body else b"", timeout=timeout)
    except (TimeoutError, ServerUnavailable, NoResponders) as error:
        raise JetStreamUnavailable(f"JetStream did not answer {verb}") from error
    document: dict[str, Any] = json.loads(answer.data)
    if (error := document.get("error")) is not None:
        raise ApiError(verb, error["code"], error["err_code"], error["description"])
    return document


def _by_the_wall_clock(_: Watched, lease: Lease) -> bool:
    """A lease is over when the machine's clock says so."""
    return lease.stamp < time.time()


def _by_the_server(_: Watched, lease: Lease) -> bool:
    """A claim is over when the server has removed it."""
    del lease
    return False


class Mend(NamedTuple):
    """What is taken out, and what then is broken."""

    kind: int
    """Of the faults that it mends."""
    without: dict[str, Any]
    """By the name of what is replaced, below the bus."""
    profile: str
    """Or a plan of the corpus."""
    oracle: str


MENDS = {
    "what is held is recognised": Mend(
        1, {"consuming.consumer.Consumer._was_seen": _recognise_nothing}, "block", "handled again by the same process"
    ),
    "tries are counted": Mend(
        2, {"consuming.tries.Tries.begin": _count_deliveries}, "stops", "deliveries taken for failures"
    ),
    "a dead letter keeps its count": Mend(
        2,
        {"consuming.settling.Settler.settle": _forget_the_dead},
        "dead-letter-whose-ack-was-lost.json",
        "handled and dead letter",
    ),
    "leaving is settling": Mend(
        6, {"events.event.LiveEvent._leave": _leave_as_entered}, "contexts", "process ended: ValueError"
    ),
    "one way to handle n at a time": Mend(
        7, {"consuming.consumer.Consumer.run": _run_beside}, "drain", "longer than its drain budget"
    ),
    "a reader that nobody refers to stops": Mend(
        8, {"consuming.consumer._abandon": _go_on_reading}, "dropped", "left behind"
    ),
    "a suspect ends": Mend(
        2, {"consuming.settling.Settler._let_the_next_begin": _tell_nobody}, "crash", "never handled"
    ),
    "a sequence is no identity": Mend(
        9, {"protocol.position.Position.key": property(_sequence_alone)}, "rollback", "acknowledged unseen"
    ),
    "a reader sorts at its start": Mend(
        10, {"consuming.prefetch.Prefetch._hold_what_was_under_way": _hold_nothing}, "stops", "order of the stream"
    ),
    "spaces and tabs alone part words": Mend(
        12,
        {"protocol.parser.Parser._read_line": _split_anywhere},
        "bytes",
        "never handled",
    ),
    "the last answer is the reason": Mend(
        14, {"publishing.durable.PublishRefused": _NoRefusal}, "full", "uncertain though the server answered"
    ),
    "a lost question is asked again": Mend(
        15,
        {"jetstream.durables.js_api": _ask_once, "jetstream.consumer_state.js_api": _ask_once},
        "starts",
        "process ended: JetStreamUnavailable",
    ),
    "a lease of an outbox is watched": Mend(
        16, {"lease.Watched.is_over": _by_the_wall_clock}, "leases", "committed, never published"
    ),
    "a claim in the bucket is watched": Mend(
        16, {"lease.Watched.is_over": _by_the_server, "dedupe.kv._SWEPT": 5.0}, "claims", "never handled"
    ),
}


@pytest.mark.parametrize("name", MENDS)
def test_without_it_a_promise_is_broken(name: str, monkeypatch: pytest.MonkeyPatch):
    if name in _PURE and CORE is not None:
        _in_pure_python(name)
        return
    mend = MENDS[name]
    for what, instead in mend.without.items():
        monkeypatch.setattr(f"{_BUS}.{what}", instead)
    seen = set[str]()
    for plan in _plans(mend.profile):
        seen |= {violation.oracle for violation in simulate(plan).violations}
        if mend.oracle in seen:
            return
    pytest.fail(f"{mend.profile} does not miss it; it broke {seen or 'nothing'}")


_PURE = {"leaving is settling"}
"""Mends in what the compiled core does itself, where it is at work: there they cannot be taken out."""


def _in_pure_python(name: str) -> None:
    """The same test in a process without the compiled core."""
    environ = {each: value for each, value in os.environ.items() if not each.startswith(("MTS1B_", "PYTEST_"))}
    again = f"{__file__}::test_without_it_a_promise_is_broken[{name}]"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", again],
        env=environ | {"MTS1B_PURE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _plans(profile: str) -> Iterator[Plan]:
    if not profile.endswith(".json"):
        yield from (make_plan(seed, profile) for seed in range(_SEEDS))
    else:
        document = json.loads((Path(__file__).parent / "corpus" / profile).read_text())
        yield Plan.from_json(json.dumps(document["plan"]))
