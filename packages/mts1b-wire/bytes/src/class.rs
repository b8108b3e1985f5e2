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

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Sets the high bit of the first byte of `word` that is `byte`, and perhaps of some behind it; of none where none is.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let word = word ^ (ONES * byte as u64);
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[inline(always)]
fn word(chunk: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(chunk);
    u64::from_le_bytes(word)
}

/// Whether every byte of `data` is of `TEXT`, eight at a time.
#[inline]
pub fn is_text(data: &[u8]) -> bool {
    let mut words = data.chunks_exact(8);
    for chunk in &mut words {
        let word = word(chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        if control | equal(word, b'"') | equal(word, b'\\') != 0 {
            return run(data, TEXT) == data.len(); // the bits behind the first may be wrong
        }
    }
    run(words.remainder(), TEXT) == words.remainder().len()
}

/// Where the first `byte` of `data` is, eight at a time.
#[inline]
pub fn find(data: &[u8], byte: u8) -> Option<usize> {
    let mut words = data.chunks_exact(8);
    let mut at = 0;
    for chunk in &mut words {
        let found = equal(word(chunk), byte);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    words.remainder().iter().position(|&other| other == byte).map(|rest| at + rest)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_byte_is_found_where_the_standard_library_finds_it(data in proptest::collection::vec(any::<u8>(), 0..40), byte: u8) {
            for byte in data.iter().copied().chain([byte]) {
                prop_assert_eq!(find(&data, byte), data.iter().position(|&other| other == byte));
            }
        }

        #[test]
        fn text_is_told_from_the_rest(mut data in proptest::collection::vec(0x20u8..=255, 0..40), at in 0usize..40, byte: u8) {
            prop_assert_eq!(is_text(&data), run(&data, TEXT) == data.len());
            data.retain(|byte| is(*byte, TEXT));
            prop_assert!(is_text(&data));
            if let Some(other) = data.get_mut(at) {
                *other = byte;
                prop_assert_eq!(is_text(&data), is(byte, TEXT));
            }
        }
    }
}
