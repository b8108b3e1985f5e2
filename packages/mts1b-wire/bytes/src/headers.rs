//! What our publishers write behind `mts-trace-id: `, the last of the headers that repeat.

pub const MSG_ID_LINE: &[u8] = b"Nats-Msg-Id: ";
const END: &[u8] = b"\r\n\r\n";

/// Whether `rest` is a trace id and perhaps a message id, as our publishers write them, up to the empty line.
#[inline]
pub fn are_ids(rest: &[u8]) -> bool {
    let Some(at) = rest.iter().position(|&byte| byte == b'\r') else { return false };
    if &rest[at..] == END {
        return true;
    }
    let Some(line) = rest[at..].strip_prefix(b"\r\n").and_then(|line| line.strip_prefix(MSG_ID_LINE)) else {
        return false;
    };
    match line.iter().position(|&byte| byte == b'\r') {
        Some(end) => &line[end..] == END,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::are_ids;

    #[test]
    fn ours_and_no_other() {
        for rest in [&b"abc\r\n\r\n"[..], b"abc\r\nNats-Msg-Id: x\r\n\r\n", b"\r\n\r\n"] {
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
            b"abc\r\n\r\n\r\n",
        ] {
            assert!(!are_ids(rest), "{rest:?}");
        }
    }
}
