//! Numbers as digits.

/// Append `value` in decimal.
#[inline]
pub fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    let end = out.len() + digits(value);
    out.extend_from_slice(&[0; 20]); // of a size that is known, so that it is written in place
    out.truncate(end);
    fill(&mut out[..end], value);
}

const PAIRS: [[u8; 2]; 100] = pairs();

const fn pairs() -> [[u8; 2]; 100] {
    let mut table = [[0; 2]; 100];
    let mut at = 0;
    while at < 100 {
        table[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    table
}

/// Write `value` to the end of `digits`, two at a time.
#[inline(always)]
fn fill(digits: &mut [u8], mut value: u64) {
    let mut end = digits.len();
    while value >= 10 {
        end -= 2;
        digits[end..end + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value > 0 || end == digits.len() {
        digits[end - 1] = b'0' + value as u8;
    }
}

/// How many digits `value` has in decimal.
#[inline]
pub fn digits(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |ten| ten as usize + 1)
}

/// Append `value` in decimal, with its sign.
#[inline]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    put_unsigned(out, value.unsigned_abs());
}

/// Append two digits.
#[inline(always)]
pub fn put_two(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[b'0' + value / 10, b'0' + value % 10]);
}

const TENS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
const MOST: f64 = 1e15;
const LEAST: f64 = 1e-5;
/// Tries with so many digits behind the point; more of them would cost more than asking for the shortest digits.
const FEW: usize = 7;
const UNITS: [u64; FEW] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// Append `value` in its shortest digits that read back, as pydantic writes it; false for what it writes with an
/// exponent, or not at all.
#[inline]
pub fn put_float(out: &mut Vec<u8>, value: f64) -> bool {
    if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0.0" } else { b"0.0" });
        return true;
    }
    let size = value.abs();
    if !(LEAST..MOST).contains(&size) {
        return false;
    }
    for (places, ten) in TENS.iter().enumerate().take(FEW) {
        let scaled = size * ten;
        if scaled >= MOST {
            break;
        }
        let whole = (scaled + 0.5) as i64; // signed: what the processor converts at once
        if whole as f64 / ten == size {
            // at most 15 digits that read back; fewer do not, as the fewest places were tried first
            if value < 0.0 {
                out.push(b'-');
            }
            put_places(out, whole as u64, places);
            return true;
        }
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    true
}

fn put_places(out: &mut Vec<u8>, digits: u64, places: usize) {
    let unit = UNITS[places];
    put_unsigned(out, digits / unit);
    let end = out.len() + 1 + places.max(1);
    out.extend_from_slice(b".0000000"); // one for each of the most places
    out.truncate(end);
    let part = digits % unit;
    if part > 0 {
        fill(&mut out[..end], part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: f64) -> Option<String> {
        let mut out = Vec::new();
        put_float(&mut out, value).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn floats_that_python_writes_plainly() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (40000.125, "40000.125"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (0.30000000000000004, "0.30000000000000004"),
            (1e-5, "0.00001"),
            (123456789012345.6, "123456789012345.6"),
            (999999999999999.9, "999999999999999.9"),
            (937070040004749.25, "937070040004749.2"),
        ] {
            assert_eq!(written(value).as_deref(), Some(text));
        }
        for value in [1e15, 1e300, 9.9e-6, 5e-324, f64::NAN, f64::INFINITY] {
            assert_eq!(written(value), None);
        }
    }

    proptest! {
        #[test]
        fn floats_read_back_and_are_no_longer_than_the_standard_library_writes(value in -1e15f64..1e15) {
            if let Some(text) = written(value) {
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
                // of two that are as near, the standard library takes the other: ...49.25 is ...49.2 here, as in Python
                prop_assert_eq!(text.len(), format!("{value:?}").len());
            }
        }

        #[test]
        fn prices_are_written_as_the_standard_library_writes_them(cents in 1u64..10_000_000_000, places in 0u32..9) {
            let value = cents as f64 / 10f64.powi(places as i32);
            if let Some(text) = written(value) {
                prop_assert_eq!(text, format!("{value:?}"));
            }
        }

        #[test]
        fn integers_are_written(value in any::<i64>()) {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
