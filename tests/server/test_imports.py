"""What a process loads before it needs it: time and memory of every start."""

import subprocess
import sys

HEAVY = {"nats", "aiohttp"}
"""Loaded by those who use them, when they do: nats-py's surface, and a second client for websockets."""
WORK = (
    "from mts1b_platform.eventbus import EventBus, connect",
    "from mts1b_platform.eventbus import apply_streams, plan_streams",
    "from mts1b_platform.service.service import Service",
    "from mts1b_platform.observability import observe",
    "from mts1b_desk.services.process import run_service",
    "from mts1b_desk.run.desk import Run",
    "from mts1b_operations.deadletters import Mover, letters",
    "from mts1b_operations.auth.responder import Responder",
    "from mts1b_operations.halt import request_halt",
    "from mts1b_deploy.backup.take import backup",
)
LOOK = """
import sys
heavy = set(sys.argv[1].split(","))
for statement in sys.argv[2:]:
    exec(statement)
    if found := heavy & sys.modules.keys():
        sys.exit(f"{statement} loads {sorted(found)}")
"""


def too_early(heavy: set[str], *statements: str) -> str:
    """Which of ``statements``, carried out one after the other, is the first to load something heavy, and what."""
    done = subprocess.run([sys.executable, "-c", LOOK, ",".join(heavy), *statements], capture_output=True, text=True)
    assert done.stderr or not done.returncode
    return done.stderr


def test_nats_py_is_not_loaded_before_it_is_used():
    assert too_early(HEAVY, *WORK) == ""


def test_a_supervisor_of_a_server_loads_no_more_than_it_needs():
    assert too_early({"pydantic", "asyncio"}, "import mts1b_deploy.supervise.supervisor") == ""


def test_what_is_loaded_too_early_is_named():
    assert too_early({"json"}, "import sys", "import json").strip() == "import json loads ['json']"
