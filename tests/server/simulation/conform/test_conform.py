"""The model of nats-server says what the real one says, in every scene."""

import difflib

import pytest
from mts1b_platform.server import NatsServer

from simulation.conform.restarts import RESTARTS
from simulation.conform.scenes import SCENES
from simulation.conform.stage import (
    all_with_the_real_server,
    restarting_the_model,
    restarting_the_real_server,
    with_the_model,
    with_the_real_server,
)

_ATTEMPTS = 3
"""Conversations with the real server: a machine that stands still for a moment changes what is said when."""


async def test_the_model_says_what_the_real_server_says(nats_server: NatsServer):
    real = await all_with_the_real_server(nats_server.port)
    different: list[str] = []
    for name, lines in real.items():
        model = with_the_model(name)
        for attempt in range(1, _ATTEMPTS):
            if lines == model:
                break
            lines = await with_the_real_server(nats_server.port, name, f"{name}{attempt}")
        if lines != model:
            different += [name, *difflib.unified_diff(lines, model, "real", "model", lineterm="", n=1)]
    assert not different, "\n".join(different)


@pytest.mark.parametrize("name", RESTARTS)
async def test_the_model_remembers_what_the_real_server_remembers(name: str, nats_server: NatsServer):
    model = restarting_the_model(name)
    real = list[str]()
    for attempt in range(_ATTEMPTS):
        real = await restarting_the_real_server(nats_server, name, f"{name}{attempt}")
        if real == model:
            break
    assert model == real


@pytest.mark.parametrize("name", SCENES)
def test_a_conversation_with_the_model_is_the_same_whatever_the_seed(name: str):
    assert with_the_model(name, 1) == with_the_model(name, 2) == with_the_model(name, 3)
