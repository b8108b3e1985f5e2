"""The desk on a server that nobody has prepared."""

import pytest

from .conftest import Desk


@pytest.mark.usefixtures("nats_server")
async def test_a_server_without_streams_is_named_with_the_remedy(desk: Desk):
    ended = await desk("run", "--quotes", "10")
    assert ended.code == 1
    assert "does not exist on this server: create the streams with `mts1b streams apply`" in ended.err
    assert "Traceback" not in ended.err
