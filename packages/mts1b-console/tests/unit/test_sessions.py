"""Sessions: nobody guesses one, codes are good once and briefly, and guessing tokens is slow."""

from types import SimpleNamespace
from typing import Any

import pytest
from mts1b_console.problems import Refused
from mts1b_console.web.session import ATTEMPTS, CODE_LASTS, IDLE, MOST, Session, Sessions


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Somebody(SimpleNamespace):
    closed = 0
    secured = True

    async def close(self) -> None:
        self.closed += 1


def somebody() -> Any:
    return Somebody()


async def test_a_session_ends_when_it_is_idle_and_takes_its_connection_with_it():
    clock, person = Clock(), somebody()
    sessions = Sessions(clock)
    session = await sessions.open(person)
    clock.now += IDLE - 1
    assert sessions.get(session.id) is session
    clock.now += IDLE - 1
    assert sessions.get(session.id) is session
    clock.now += IDLE + 1
    assert sessions.get(session.id) is None
    await sessions.open(somebody())
    assert person.closed == 1


async def test_signing_out_ends_the_live_connections_first():
    sessions, person, said = Sessions(Clock()), somebody(), list[str]()
    session = await sessions.open(person)

    async def end() -> None:
        said.append("ended" if not person.closed else "too late")

    session.ending.add(end)
    await sessions.close(session)
    assert (said, person.closed, sessions.get(session.id)) == (["ended"], 1, None)


async def test_two_sessions_have_nothing_in_common():
    sessions = Sessions(Clock())
    first, second = await sessions.open(somebody()), await sessions.open(somebody())
    assert len({first.id, second.id, first.csrf, second.csrf}) == 4
    assert first.is_csrf(first.csrf)
    assert not first.is_csrf(second.csrf)
    assert not first.is_csrf("")


async def test_too_many_sessions_lock_nobody_out_where_nobody_signs_in():
    clock = Clock()
    sessions, everybody = Sessions(clock), somebody()
    everybody.secured = False
    made: list[Session] = []
    for _ in range(MOST + 1):
        clock.now += 0.01
        made.append(await sessions.open(everybody))
    assert len(sessions) == MOST
    assert sessions.get(made[0].id) is None
    assert sessions.get(made[1].id) is made[1]
    assert everybody.closed == 0
    with pytest.raises(Refused, match="sessions are open"):
        await sessions.open(somebody())


def test_a_code_is_good_once_and_for_half_a_minute():
    clock = Clock()
    sessions = Sessions(clock)
    code = sessions.hand_over("token")
    assert sessions.token_of(code) == "token"
    with pytest.raises(Refused, match="used before"):
        sessions.token_of(code)
    late = sessions.hand_over("token")
    clock.now += CODE_LASTS + 1
    with pytest.raises(Refused, match="ended"):
        sessions.token_of(late)


def test_guessing_is_slow():
    clock = Clock()
    sessions = Sessions(clock)
    for _ in range(ATTEMPTS):
        sessions.count_attempt("10.0.0.1")
    with pytest.raises(Refused, match="attempts"):
        sessions.count_attempt("10.0.0.1")
    sessions.count_attempt("10.0.0.2")
    clock.now += 61
    sessions.count_attempt("10.0.0.1")
