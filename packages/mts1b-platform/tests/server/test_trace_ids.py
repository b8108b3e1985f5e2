"""Trace ids: random, in OpenTelemetry's form, and never the same in two processes."""

import multiprocessing
import re
from multiprocessing.queues import Queue

from mts1b_platform.eventbus.events.trace import new_trace_id


def tell(answers: "Queue[list[str]]") -> None:
    answers.put([new_trace_id() for _ in range(300)])


def test_every_trace_id_is_new_and_has_opentelemetrys_form():
    ids = [new_trace_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", each) and int(each, 16) for each in ids)


def test_a_forked_child_draws_ids_of_its_own():
    new_trace_id()  # the parent has some in store
    context = multiprocessing.get_context("fork")
    answers: Queue[list[str]] = context.Queue()
    child = context.Process(target=tell, args=(answers,))
    child.start()
    theirs = answers.get(timeout=60)
    child.join(60)
    assert not set(theirs) & {new_trace_id() for _ in range(300)}
