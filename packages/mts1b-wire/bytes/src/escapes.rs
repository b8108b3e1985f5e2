//! Strings whose characters do not all stand for themselves.

use crate::class;

/// A string with escapes of two characters (`\\n`, `\\"`, …); what is spelt as `\\u…` is left.
#[cold]
pub fn read(data: &[u8]) -> Option<(String, usize)> {
    let mut found = Vec::new();
    let mut at = 1;
    if data.first() != Some(&b'"') {
        return None;
    }
    loop {
        let plain = class::run(&data[at..], class::TEXT);
        found.extend_from_slice(&data[at..at + plain]);
        at += plain;
        match data.get(at)? {
            b'"' => return Some((String::from_utf8(found).ok()?, at + 1)),
            b'\\' => found.push(match data.get(at + 1)? {
                same @ (b'"' | b'\\' | b'/') => *same,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                _ => return None,
            }),
            _ => return None,
        }
        at += 2;
    }
}

/// Append a string whose characters do not all stand for themselves.
#[cold]
pub fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                let hex = |digit: u8| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_of_another_form_are_left() {
        let known = br#""a\"\\\/\b\f\n\r\tz","#;
        assert_eq!(read(known), Some(("a\"\\/\u{8}\u{c}\n\r\tz".to_owned(), known.len() - 1)));
        for data in [&br#""\u0041""#[..], br#""\x""#, br#""\""#, br#""a"#, b"\"\n\"", b"\"\xff\"", b"", b"a"] {
            assert_eq!(read(data), None, "{data:?}");
        }
    }

    proptest! {
        #[test]
        fn text_comes_back(text in "[ -~\n\r\t\u{8}\u{c}\u{e9}]{0,20}") {
            let mut out = Vec::new();
            put(&mut out, text.as_bytes());
            prop_assert_eq!(read(&out), Some((text, out.len())));
        }

        #[test]
        fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&data);
        }
    }
}
