"""A durable event by itself: how long until it is stored, and until a handler has it, by profile of the server.

The profile ``minimal`` syncs its disk every two minutes; ``single`` syncs before each ack, speaks TLS, and knows
everybody by a certificate. Each is installed for the measurement, below a directory of its own, and ended afterwards.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness import HERE, Column, Contestant, Plan, Result, Section, both_forms, pair, rounds, run_pair
from mts1b_deploy.install import install
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import stop
from mts1b_deploy.plan import Request
from mts1b_deploy.record import record_of
from mts1b_platform.testing.ports import free_ports

READS = HERE.parent / "tests" / "checkouts" / "spec-reader"
"""Declares the durable that is read."""
EVENTS = 1_000
"""One after the other, so that none waits for another."""
BUS = "bus (emit, consume)"
PROFILES: tuple[Literal["minimal", "single"], ...] = ("minimal", "single")
COLUMNS = (
    Column("to the ack p50 ms", "pub_p50", ".3f"),
    Column("p99 ms", "pub_p99", ".3f"),
    Column("to the handler p50 ms", "sub_p50", ".3f"),
    Column("p99 ms", "sub_p99", ".3f"),
)


async def measure(plan: Plan) -> list[Section]:
    """Both profiles, both forms."""
    return [
        await asyncio.to_thread(_measured, plan, profile) for profile in PROFILES
    ]  # installing has a loop of its own


def key(profile: str) -> str:
    """The name of the section of ``profile``."""
    return f"durable {profile}"


def _measured(plan: Plan, profile: Literal["minimal", "single"]) -> Section:
    with _installed(plan.directory / f"profile-{profile}", profile) as config:

        def run(contestant: Contestant, count: int) -> Result:
            return run_pair(contestant, "", count, "order", "0")

        chosen = plan.chosen(both_forms(pair(BUS, "durable_bus", ours=True)))
        configured = [_with(each, f"MTS1B_CONFIG={config}") for each in chosen]
        outcomes = rounds(configured, min(EVENTS, plan.stored), plan.rounds, run)
    title = f"A durable order, one at a time, profile {profile}"
    return Section(key(profile), title, COLUMNS, "", outcomes)


def _with(contestant: Contestant, setting: str) -> Contestant:
    commands = {name: ["/usr/bin/env", setting, *getattr(contestant, name)] for name in ("subscriber", "publisher")}
    return replace(contestant, **commands)


@contextmanager
def _installed(prefix: Path, profile: Literal["minimal", "single"]) -> Generator[Path]:
    """The profile at work below ``prefix``; gives its configuration."""
    layout = Layout(prefix)
    port, monitor_port = free_ports(2)
    wanted = Request(
        profile=profile, include="nats", port=port, monitor_port=monitor_port, websocket_port=0,
        supervisor="detached", user_config=False, checkouts=(READS,),
    )  # fmt: skip
    install(layout, wanted, timeout=60.0)
    try:
        yield layout.config
    finally:
        stop(layout, record_of(layout), timeout=10.0)
