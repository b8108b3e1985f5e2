"""Acks of several streams, in turns: each is told from the others, and what says more is read as it is."""

import pytest
from mts1b_platform.eventbus.protocol.puback import AckReader, PubAck, PublishRefused


def ack(stream: str, seq: int, more: str = "") -> bytes:
    return b'{"stream":"%b","seq":%d%b}' % (stream.encode(), seq, more.encode())


def test_plain_acks_of_several_streams_in_turns():
    reader = AckReader()
    for seq in range(1, 20):
        for stream in ("OMS_ORDERS", "OMS_FILLS", "OMS"):
            assert reader.read(b"", ack(stream, seq)) == PubAck(stream, seq)
            assert reader.stream == stream
            assert reader.seq(ack(stream, seq + 1)) == seq + 1


def test_what_says_more_than_a_plain_ack_is_read_with_care_after_any_stream():
    reader = AckReader()
    for stream in ("OMS_ORDERS", "OMS_FILLS", "OMS_ORDERS", "OMS_FILLS"):
        reader.read(b"", ack(stream, 7))
        assert reader.read(b"", ack("OMS_FILLS", 8, ',"duplicate":true')) == PubAck("OMS_FILLS", 8, True)
        with pytest.raises(PublishRefused, match="no room"):
            reader.read(b"", b'{"error":{"code":400,"err_code":10077,"description":"no room"},"seq":0}')
        for broken in (b'{"stream":"OMS_FILLS","seq":x}', b'{"stream":"OMS_FILLS","seq":', b'"seq":1}', b":1}"):
            with pytest.raises(PublishRefused, match="no ack"):
                reader.read(b"", broken)
