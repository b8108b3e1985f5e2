"""Questions to JetStream: what is only so for a moment is asked again, what is refused is said at once."""

import gc
import json
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api

NO_LEADER = {"error": {"code": 503, "err_code": 10008, "description": "JetStream system temporarily unavailable"}}
FULL = {"error": {"code": 503, "err_code": 10023, "description": "insufficient resources"}}


class Server:
    """Answers one question after the other."""

    has_jetstream = True
    connected_url = "nats://127.0.0.1:4222"

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 0.5) -> Any:  # noqa: ARG002
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return SimpleNamespace(data=json.dumps(answer).encode())


async def test_a_cluster_that_has_no_leader_for_a_moment_is_asked_again():
    assert await js_api(Server(NO_LEADER, NO_LEADER, {"config": 1}), "STREAM.INFO.A") == {"config": 1}


async def test_a_cluster_that_gets_no_leader_in_time_is_an_error_in_the_servers_words():
    with pytest.raises(ApiError, match="temporarily unavailable"):
        await js_api(Server(NO_LEADER), "STREAM.INFO.A", timeout=0.25)


async def test_what_is_refused_is_said_at_once():
    server = Server(FULL, {"config": 1})
    with pytest.raises(ApiError, match="insufficient resources"):
        await js_api(server, "STREAM.CREATE.A")
    assert server.answers == [{"config": 1}]


async def test_a_refusal_that_was_handled_is_gone_at_once_and_holds_no_frame():
    gc.disable()
    try:
        left: weakref.ref[ApiError] | None = None
        try:
            await js_api(Server(FULL), "STREAM.CREATE.A")
        except ApiError as error:
            left = weakref.ref(error)
        assert left is not None
        assert left() is None
    finally:
        gc.enable()
