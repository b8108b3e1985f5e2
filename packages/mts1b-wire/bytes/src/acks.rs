//! JetStream's answers to publishes.

use crate::class::{self, DIGIT};

/// All of `data` as a number of at most 18 digits.
#[inline]
pub fn whole_number(data: &[u8]) -> Option<u64> {
    if data.is_empty() || data.len() > 18 {
        return None;
    }
    let mut value = 0u64;
    for &byte in data {
        if !class::is(byte, DIGIT) {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    Some(value)
}

/// The sequence in a plain ack that begins like the one before, which ended where its sequence began.
#[inline]
pub fn sequence(payload: &[u8], begin: &[u8]) -> Option<u64> {
    let number = payload.strip_prefix(begin)?.strip_suffix(b"}")?;
    whole_number(number).filter(|&sequence| sequence > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_acks_only() {
        let begin = b"{\"stream\":\"S\", \"seq\":";
        assert_eq!(sequence(b"{\"stream\":\"S\", \"seq\":17}", begin), Some(17));
        for payload in [
            &b"{\"stream\":\"S\", \"seq\":0}"[..],
            b"{\"stream\":\"S\", \"seq\":17,\"duplicate\":true}",
            b"{\"stream\":\"T\", \"seq\":17}",
            b"{\"stream\":\"S\", \"seq\":}",
            b"{\"stream\":\"S\", \"seq\":1234567890123456789}",
            b"",
        ] {
            assert_eq!(sequence(payload, begin), None);
        }
    }
}
