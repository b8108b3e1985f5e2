//! Comparing short runs of bytes in place: most are shorter than a call of `memcmp` is worth.

/// Whether `data` begins with `start`.
#[inline(always)]
pub fn begins(data: &[u8], start: &[u8]) -> bool {
    let size = start.len();
    if size > data.len() {
        return false;
    }
    let data = &data[..size];
    if (4..8).contains(&size) {
        return half(data, 0) == half(start, 0) && half(data, size - 4) == half(start, size - 4);
    }
    if size >= 8 {
        let mut at = 0;
        while at + 8 < size {
            if word(data, at) != word(start, at) {
                return false;
            }
            at += 8;
        }
        return word(data, size - 8) == word(start, size - 8);
    }
    data.iter().zip(start).all(|(one, other)| one == other)
}

#[inline(always)]
fn half(data: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&data[at..at + 4]);
    u32::from_le_bytes(word)
}

#[inline(always)]
fn word(data: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&data[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::begins;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_the_standard_library(start in "[ab]{0,40}", rest in "[ab]{0,9}", at in 0usize..40, other in "[abc]") {
            let mut data = format!("{start}{rest}").into_bytes();
            prop_assert!(begins(&data, start.as_bytes()));
            if let Some(byte) = data.get_mut(at) {
                *byte = other.as_bytes()[0];
            }
            prop_assert_eq!(begins(&data, start.as_bytes()), data.starts_with(start.as_bytes()));
            prop_assert!(!begins(&data[..start.len().saturating_sub(1)], start.as_bytes()) || start.is_empty());
        }
    }
}
