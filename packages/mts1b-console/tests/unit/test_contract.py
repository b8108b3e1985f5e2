"""The contract with the browser: rendered types are current, and what is unknown is never a figure."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mts1b_console.problems import problem_of, status_of
from mts1b_console.read.acting import command, phrase
from mts1b_console.read.answer import answered
from mts1b_console.shapes.base import Answer
from mts1b_console.shapes.events import EventsFound, Nav, Orders
from mts1b_console.shapes.person import ActRequest
from mts1b_console.shapes.state import Alerts, AuditFound, Consumers, DeadLetters, Halts, Services, Streams, Verdict
from mts1b_console.typescript import typescript
from mts1b_operations.people.asked import Declined
from mts1b_operations.people.asking import Unanswered
from mts1b_platform.eventbus import AccessDenied
from mts1b_platform.eventbus.errors import RequestTimeout

_SOMEBODY: Any = SimpleNamespace(bus=SimpleNamespace(is_connected=True))
TYPES = Path(__file__).parents[2] / "web" / "src" / "shapes.ts"


def test_the_types_of_the_browser_are_those_of_the_shapes():
    assert TYPES.read_text() == typescript(), "mts1b console check --types > packages/mts1b-console/web/src/shapes.ts"


@pytest.mark.parametrize(
    "shape", [Alerts, AuditFound, Consumers, DeadLetters, Halts, Nav, Orders, Services, Streams, Verdict]
)
async def test_what_cannot_be_read_has_no_figures(shape: type[Answer]):
    async def work() -> dict[str, object]:
        raise Unanswered("nobody answers look.v1.survey.all")

    found = (await answered(_SOMEBODY, shape, work)).model_dump()
    assert found.pop("unknown")["code"] == "unanswered"
    assert found.pop("read_at")
    assert all(value is None or value is False for value in found.values()), found


async def test_what_is_known_is_said_beside_what_is_not():
    async def work() -> dict[str, object]:
        raise RequestTimeout("no answer")

    found = await answered(_SOMEBODY, EventsFound, work, query="fund:alpha", problems=[])
    assert (found.query, found.events, found.unknown and found.unknown.code) == ("fund:alpha", None, "bus-away")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AccessDenied("not for you"), 403),
        (Declined("not-found", "gone"), 404),
        (Declined("changed", "it is another now"), 409),
        (Declined("busy", "wait"), 429),
        (Unanswered("nobody"), 503),
        (TimeoutError(), 504),
        (RuntimeError("secret"), 500),
    ],
)
def test_errors_have_a_status(error: Exception, status: int):
    problem = problem_of(error)
    assert status_of(problem) == status
    assert "secret" not in problem.message


def test_what_adds_risk_is_confirmed_by_a_phrase_that_names_it():
    assert phrase("halt.request", ActRequest(fund="alpha")) == ""
    assert phrase("halt.clear", ActRequest(fund="alpha")) == "resume alpha"
    assert phrase("halt.clear", ActRequest()) == "resume all"
    assert phrase("deadletters.requeue", ActRequest(ids=["a", "b"])) == "requeue 2"


def test_the_command_to_copy_quotes_what_it_was_given():
    request = ActRequest(fund="a b", reason="it's $(wrong)")
    assert command("halt.request", request) == """mts1b halt request --fund 'a b' --reason 'it'"'"'s $(wrong)'"""
    assert command("deadletters.discard", ActRequest(ids=["S:1:c"], reason="x")) == (
        "mts1b deadletters discard S:1:c --why x"
    )
