//! Bytes as text: standard base64, padded, without anything that could be left out.

use crate::class::{self, IDENTIFIER};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The bytes in a string of base64, and how many bytes the string took.
#[inline]
pub fn read(data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let rest = data.strip_prefix(b"\"")?;
    let size = class::run(rest, IDENTIFIER);
    if rest.get(size) != Some(&b'"') {
        return None;
    }
    Some((STANDARD.decode(&rest[..size]).ok()?, size + 2))
}

/// Append `bytes` as a string of base64.
#[inline]
pub fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[begin..]);
    debug_assert_eq!(written, Ok(out.len() - begin));
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_spelt_in_another_way_is_left() {
        for data in [&b"\"YQ\""[..], b"\"YR==\"", b"\"YQ==", b"\"Y Q==\"", b"YQ==", b"\"YQ=\"", b"\"\\u0059Q==\""] {
            assert_eq!(read(data), None, "{data:?}");
        }
        assert_eq!(read(b"\"YQ==\","), Some((b"a".to_vec(), 6)));
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            put(&mut out, &bytes);
            prop_assert_eq!(read(&out), Some((bytes, out.len())));
        }
    }
}
