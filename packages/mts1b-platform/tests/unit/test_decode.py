"""A reader takes a message for what it says it is, however often it has seen its like."""

from hypothesis import given, settings
from hypothesis import strategies as st
from mts1b_foundation.samples import QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.protocol.envelope_reader import read_ids
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, split_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError, Headers
from mts1b_platform.eventbus.protocol.message import RawMsg

TRACE = "0af7651916cd43dd8448eb211c80319c"
SUBJECT = MARKETDATA_QUOTES.format(QUOTE)
GOOD = {"content-type": "application/json", "mts-source-repo": "mts1b-marketdata", "mts-schema": QUOTE.schema_id()}
DATA = QUOTE.model_dump_json().encode()


def message(headers: dict[str, str], msg_id: str | None = None) -> RawMsg:
    return split_frame(FrameTemplate(SUBJECT, headers).encode(DATA, TRACE, msg_id))


def accepted(decoder: Decoder, msg: RawMsg) -> bool:
    try:
        assert decoder.decode(msg)[:3] == (MARKETDATA_QUOTES, SUBJECT, QUOTE)
    except Refused:
        return False
    return True


def test_another_schema_or_producer_is_refused_also_after_thousands_of_good_ones():
    decoder = Decoder([MARKETDATA_QUOTES])
    for wrong in ({"mts-schema": "x:v1"}, {"mts-source-repo": "mts1b-oms"}):
        for _ in range(3):
            assert accepted(decoder, message(GOOD))
            assert accepted(decoder, message(GOOD, "id-1"))
            assert not accepted(decoder, message({**GOOD, **wrong}))
            assert not accepted(decoder, message({**GOOD, **wrong}, "id-1"))


PIECES = st.sampled_from(
    [
        *(b"mts-schema: x:v1", b"MTS-Schema: x:v1", b"a: b", b"mts-source-repo: mts1b-oms", b"junk", b"", b"a: \0"),
        *(b"traceparent: 00-1", b"Nats-Batch-Id: 7", b"Nats-Batch-Sequence", b"Nats-Batch-Commit: 1\nmts-schema: x:v1"),
    ]
)


@given(
    before=st.lists(PIECES, max_size=2),
    trace=st.sampled_from([TRACE.encode(), TRACE[:-2].encode() + b"\r\n", TRACE[:-1].encode() + b"\r", b"short"]),
    after=st.lists(PIECES, max_size=2),
    end=st.sampled_from([b"\r\n\r\n", b"\r\n", b"\n\n", b"\r\nx\r\n"]),
)
@settings(max_examples=600)
def test_nothing_hides_behind_headers_that_were_seen_before(
    before: list[bytes], trace: bytes, after: list[bytes], end: bytes
):
    subject, reply, ours, data = message(GOOD)
    start = ours[: ours.index(b"\r\nmts-trace-id")]
    head = b"\r\n".join([start, *before, b"mts-trace-id: " + trace, *after]) + end
    warm = Decoder([MARKETDATA_QUOTES])
    assert accepted(warm, message(GOOD))
    assert accepted(warm, message(GOOD, "id"))
    try:
        headers = Headers(head)
        good = all(headers.get(name) == value for name, value in GOOD.items())
    except HeaderError:
        good = False
    if accepted(warm, (subject, reply, head, data)) and not good:
        try:
            read_ids(head)
        except HeaderError:
            return  # the fault is behind the static headers, and is told to who asks for those
        raise AssertionError(f"accepted: {head!r}")
    assert not good or accepted(warm, (subject, reply, head, data))


def test_an_envelope_is_plain_when_it_ends_as_ours_do_and_names_no_durable():
    decoder = Decoder([MARKETDATA_QUOTES])

    def plain(headers: dict[str, str], more: bytes = b"") -> bool:
        subject, reply, head, data = message(headers, "id-1")
        return decoder.decode((subject, reply, head[:-2] + more + b"\r\n", data))[3]

    for _ in range(2):
        assert plain(GOOD)
        assert plain(GOOD, b"traceparent: 00-1\r\n")
        assert plain(GOOD, b"traceparent: 00-1\r\nNats-Batch-Id: 7\r\nNats-Batch-Sequence: 2\r\n")
        assert not plain(GOOD, b"mts-only-durable: treasury\r\n")
        assert not plain(GOOD, b"Nats-Batch-Id: 7\r\nmts-only-durable: treasury\r\n")
        assert not plain({**GOOD, "MTS-Only-Durable": "treasury"})
