//! What our publishers write behind `mts-trace-id: `, the last of the headers that repeat.

use crate::class;

pub const MSG_ID_LINE: &[u8] = b"Nats-Msg-Id: ";
const TRACEPARENT_LINE: &[u8] = b"traceparent: ";
const END: &[u8] = b"\r\n\r\n";
/// How the lines begin that stand behind the trace id: ours, those of an atomic batch, which a stream keeps with each
/// message, and the pin under which the server delivers.
const ADDED: [&[u8]; 6] = [
    MSG_ID_LINE,
    TRACEPARENT_LINE,
    b"Nats-Batch-Id: ",
    b"Nats-Batch-Sequence: ",
    b"Nats-Batch-Commit: ",
    b"Nats-Pin-Id: ",
];

/// Whether `rest` is a trace id and what else our publishers and the server write behind it, up to the empty line.
#[inline]
pub fn are_ids(rest: &[u8]) -> bool {
    let Some(mut at) = end_of_line(rest) else { return false };
    loop {
        let tail = &rest[at..];
        if tail == END {
            return true;
        }
        let Some(line) = tail.strip_prefix(b"\r\n") else { return false };
        if !ADDED.iter().any(|begin| line.starts_with(begin)) {
            return false;
        }
        match end_of_line(line) {
            Some(end) => at += 2 + end,
            None => return false,
        }
    }
}

/// The trace id in what is behind `mts-trace-id: `, where no span is named; None where one is.
///
/// `rest` is known by `are_ids`.
#[inline]
pub fn trace_without_span(rest: &[u8]) -> Option<&[u8]> {
    let (trace_id, mut tail) = rest.split_at(end_of_line(rest)?);
    if tail == END {
        return Some(trace_id); // nearly every one
    }
    while let Some(line) = tail.strip_prefix(b"\r\n") {
        if line.starts_with(TRACEPARENT_LINE) {
            return None;
        }
        let Some(end) = end_of_line(line) else { break };
        tail = &line[end..];
    }
    Some(trace_id)
}

#[inline]
fn end_of_line(text: &[u8]) -> Option<usize> {
    class::find(text, b'\r')
}

#[cfg(test)]
mod tests {
    use super::{are_ids, trace_without_span};

    #[test]
    fn ours_and_no_other() {
        for rest in [
            &b"abc\r\n\r\n"[..],
            b"abc\r\nNats-Msg-Id: x\r\n\r\n",
            b"\r\n\r\n",
            b"abc\r\ntraceparent: 00-x\r\n\r\n",
            b"abc\r\nNats-Msg-Id: x\r\ntraceparent: 00-x\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 7\r\n\r\n",
            b"abc\r\nNats-Pin-Id: p\r\nNats-Batch-Commit: 1\r\n\r\n",
        ] {
            assert!(are_ids(rest), "{rest:?}");
        }
        for rest in [
            &b"abc"[..],
            b"",
            b"abc\r\n",
            b"abc\rx\n\r\n",
            b"abc\r\nother: x\r\n\r\n",
            b"abc\r\nNats-Msg-Id: x\r\nother: y\r\n\r\n",
            b"abc\r\nNats-Msg-Id: x\r\n",
            b"abc\r\ntraceparent: x\ry\r\n\r\n",
            b"abc\r\ntraceparent: x",
            b"abc\r\n\r\n\r\n",
        ] {
            assert!(!are_ids(rest), "{rest:?}");
        }
    }

    #[test]
    fn a_trace_of_which_no_span_is_named() {
        for rest in [&b"abc\r\n\r\n"[..], b"abc\r\nNats-Msg-Id: traceparent: \r\nNats-Pin-Id: p\r\n\r\n"] {
            assert_eq!(trace_without_span(rest), Some(&b"abc"[..]), "{rest:?}");
        }
        for rest in [
            &b"abc\r\ntraceparent: \r\n\r\n"[..],
            b"abc\r\nNats-Msg-Id: x\r\nNats-Batch-Id: b\r\ntraceparent: 00-x\r\n\r\n",
        ] {
            assert_eq!(trace_without_span(rest), None, "{rest:?}");
        }
    }
}
