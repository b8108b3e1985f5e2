//! Trace ids in OpenTelemetry's form.

const DIGITS: usize = 32;

/// The last 64 bits of a trace id; None for what is not 32 hexadecimal digits, or is all zero.
#[inline]
pub fn low_half(id: &[u8]) -> Option<u64> {
    let (high, low) = id.split_at_checked(DIGITS / 2)?;
    let (high, low) = (half(high)?, half(low)?);
    (high != 0 || low != 0).then_some(low)
}

#[inline]
fn half(digits: &[u8]) -> Option<u64> {
    if digits.len() != DIGITS / 2 {
        return None;
    }
    let (mut sum, mut seen) = (0, 0);
    for &digit in digits {
        let value = VALUES[usize::from(digit)];
        sum = sum << 4 | u64::from(value & 15);
        seen |= value;
    }
    (seen < NO_DIGIT).then_some(sum)
}

const NO_DIGIT: u8 = 16;

/// By byte.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value as usize];
        values[digit as usize] = value;
        values[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::low_half;

    #[test]
    fn ids_and_nothing_else() {
        assert_eq!(low_half(b"4bf92f3577b34da6A3CE929d0e0e4736"), Some(0xa3ce_929d_0e0e_4736));
        assert_eq!(low_half(b"00000000000000010000000000000000"), Some(0));
        assert_eq!(low_half(b"ffffffffffffffffffffffffffffffff"), Some(u64::MAX));
        for other in [
            &b""[..],
            b"4bf92f3577b34da6",
            b"00000000000000000000000000000000",
            b"4bf92f3577b34da6a3ce929d0e0e473",
            b"4bf92f3577b34da6a3ce929d0e0e47366",
            b"4bf92f3577b34da6a3ce929d0e0e473g",
            b"4bf92f3577b34da6a3ce929d0e0e47_6",
        ] {
            assert_eq!(low_half(other), None, "{other:?}");
        }
    }
}
