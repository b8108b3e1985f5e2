//! Classes of bytes, one table look-up each.

/// `!` to `~`, without the quote and the backslash.
pub const IDENTIFIER: u8 = 1;
/// Everything but control characters, DEL, the quote and the backslash; bytes of UTF-8 beyond ASCII too.
pub const SYMBOL: u8 = 2;
/// What stands for itself in a JSON string; bytes of UTF-8 beyond ASCII too.
pub const TEXT: u8 = 4;
pub const DIGIT: u8 = 8;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut class = 0;
        if byte != b'"' as usize && byte != b'\\' as usize {
            if byte >= b'!' as usize && byte <= b'~' as usize {
                class |= IDENTIFIER;
            }
            if byte >= 0x20 && byte != 0x7f {
                class |= SYMBOL;
            }
            if byte >= 0x20 {
                class |= TEXT;
            }
        }
        if byte >= b'0' as usize && byte <= b'9' as usize {
            class |= DIGIT;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

/// Whether `byte` is of one of the `wanted` classes.
#[inline(always)]
pub fn is(byte: u8, wanted: u8) -> bool {
    CLASSES[byte as usize] & wanted != 0
}

/// How many bytes at the front of `data` are of `wanted`.
#[inline]
pub fn run(data: &[u8], wanted: u8) -> usize {
    let mut count = 0;
    while count < data.len() && is(data[count], wanted) {
        count += 1;
    }
    count
}
