"""What the reply subject of a delivery tells."""

import pytest
from mts1b_platform.eventbus.protocol.position import NotJetStream, Position, stored_at


def test_the_reply_subject_tells_of_the_delivery():
    expected = Position("S", "d", 2, 30, 40, 1611100000123456789, 5)
    assert Position.of(b"$JS.ACK.S.d.2.30.40.1611100000123456789.5") == expected
    assert Position.of(b"$JS.ACK.hub.AbC.S.d.2.30.40.1611100000123456789.5.rnd") == expected
    tail = b"S.d.2.30.40.%d.5"
    for reply in (b"$JS.ACK." + tail, b"$JS.ACK.hub.AbC." + tail, b"$JS.ACK.hub.AbC." + tail + b".rnd"):
        for moment in (1611100000123456789, 17):
            assert stored_at(reply % moment) == moment


@pytest.mark.parametrize(
    "reply",
    [b"", b"_INBOX.a.b", b"$JS.ACK.S.d.2.30.40.1.x", b"$JS.ACK.S.d.2.30.40", b"$JS.API.S.d.2.30.40.1.1"],
)
def test_any_other_reply_subject_is_refused(reply: bytes):
    for read in (Position.of, stored_at):
        with pytest.raises(NotJetStream):
            read(reply)
