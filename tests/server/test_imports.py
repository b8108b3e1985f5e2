"""What a process loads before it needs it: time and memory of every start."""

import subprocess
import sys

import pytest

HEAVY = ("nats", "aiohttp")
"""Loaded by those who use them, when they do: nats-py's surface, and a second client for websockets."""


@pytest.mark.parametrize(
    "statement",
    [
        "from mts1b_platform.eventbus import EventBus, connect",
        "from mts1b_platform.eventbus import apply_streams, plan_streams",
        "from mts1b_platform.service.service import Service",
        "from mts1b_platform.observability import observe",
        "from mts1b_desk.services.process import run_service",
        "from mts1b_desk.run.desk import Run",
        "from mts1b_operations.deadletters import Mover, letters",
        "from mts1b_operations.auth.responder import Responder",
        "from mts1b_operations.halt import request_halt",
        "from mts1b_deploy.backup import Backup",
    ],
)
def test_nats_py_is_not_loaded_before_it_is_used(statement: str):
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(set(HEAVY) & set(done.stdout.split())) == []
