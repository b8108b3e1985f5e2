"""A connection belongs to the process that made it."""

import os

import pytest
from mts1b_platform.eventbus.connection.outbound import Outbound
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.errors import WrongEventLoop
from mts1b_platform.eventbus.protocol.frames import pub_frame


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_process_that_was_forked_off_is_told():
    out = Outbound(limit=1000, high_water=500, stats=Stats(), report=lambda _: None)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            out.send(pub_frame(b"a", b"x"))
        except WrongEventLoop:
            os.write(write, b"told")
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)  # noqa: ASYNC222 - it has ended by itself
    with os.fdopen(read, "rb") as answer:
        assert answer.read() == b"told"
