//! JSON values in their common form. Each reader takes the bytes from where the value begins, and answers with the value
//! and how many bytes it took. What may follow a value is the caller's to check.

use crate::class::{self, DIGIT};

/// How many blanks are at the front of `data`.
#[inline]
pub fn blanks(data: &[u8]) -> usize {
    let mut count = 0;
    while count < data.len() && matches!(data[count], b' ' | b'\n' | b'\t' | b'\r') {
        count += 1;
    }
    count
}

/// The inside of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    pub bytes: &'a [u8],
    /// Characters, not bytes.
    pub length: usize,
    pub ascii: bool,
}

/// A string without escapes, all of `wanted` (see [`class`]), valid UTF-8.
#[inline]
pub fn text(data: &[u8], wanted: u8) -> Option<(Text<'_>, usize)> {
    if data.first() != Some(&b'"') {
        return None;
    }
    let rest = &data[1..];
    let mut high = 0;
    let mut size = 0;
    while size < rest.len() && class::is(rest[size], wanted) {
        high |= rest[size];
        size += 1;
    }
    if rest.get(size) != Some(&b'"') {
        return None;
    }
    let bytes = &rest[..size];
    let ascii = high < 0x80;
    let length = if ascii { size } else { core::str::from_utf8(bytes).ok()?.chars().count() };
    Some((Text { bytes, length, ascii }, size + 2))
}

/// Whether `text` is the length of a bar: `[1-9][0-9]*(ms|s|m|h|d)`.
#[inline]
pub fn is_interval(text: &[u8]) -> bool {
    let digits = class::run(text, DIGIT);
    digits > 0 && text[0] != b'0' && matches!(&text[digits..], b"ms" | b"s" | b"m" | b"h" | b"d")
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
const EXACT: u64 = 1 << 53;
const LONGEST_FLOAT: usize = 80;
/// Digits of an integer that is a double without rounding.
const WHOLE_DIGITS: usize = 15;

/// Digits from `at` on, behind those of `number`: the number, and where they end. Beyond 18 of them it is wrong.
#[inline(always)]
fn digits(data: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    while let Some(&byte) = data.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, at)
}

/// A finite number.
#[inline]
pub fn float(data: &[u8]) -> Option<(f64, usize)> {
    let negative = data.first() == Some(&b'-');
    let begin = usize::from(negative);
    let (whole, point) = digits(data, begin, 0);
    if data.get(point) != Some(&b'.') || (data[begin] == b'0' && point > begin + 1) {
        return any_float(data);
    }
    let (mantissa, end) = digits(data, point + 1, whole);
    let fraction = end - point - 1;
    let plain = point > begin && fraction > 0 && end - begin <= 19 && !matches!(data.get(end), Some(b'e' | b'E'));
    if !plain || mantissa > EXACT {
        return any_float(data);
    }
    let value = mantissa as f64 / POWERS[fraction]; // both are exact: the quotient is rounded once
    Some((if negative { -value } else { value }, end))
}

/// As `float`: for all that is not of few digits with a point.
#[cold]
fn any_float(data: &[u8]) -> Option<(f64, usize)> {
    let negative = data.first() == Some(&b'-');
    let mut at = usize::from(negative);
    let begin = at;
    let (mut mantissa, mut digits, mut exact) = (0u64, 0, true);
    while at < data.len() && class::is(data[at], DIGIT) {
        if digits < 18 {
            mantissa = mantissa * 10 + u64::from(data[at] - b'0');
            digits += usize::from(mantissa != 0);
        } else {
            exact = false;
        }
        at += 1;
    }
    let whole = at - begin;
    if whole == 0 || (whole > 1 && data[begin] == b'0') {
        return None;
    }
    let mut fraction = 0;
    let point = data.get(at) == Some(&b'.');
    if point {
        at += 1;
        let first = at;
        while at < data.len() && class::is(data[at], DIGIT) {
            if digits < 18 {
                mantissa = mantissa * 10 + u64::from(data[at] - b'0');
                digits += usize::from(mantissa != 0);
                fraction += 1;
            } else {
                exact = false;
            }
            at += 1;
        }
        if at == first {
            return None;
        }
    }
    let scaled = matches!(data.get(at), Some(b'e' | b'E'));
    if scaled {
        at += 1;
        at += usize::from(matches!(data.get(at), Some(b'+' | b'-')));
        let first = at;
        at += class::run(&data[at..], DIGIT);
        if at == first {
            return None;
        }
        exact = false;
    }
    if !point && !scaled {
        // an integer: pydantic reads it as one first
        if whole > WHOLE_DIGITS {
            return None;
        }
        let value = mantissa as i64;
        return Some(((if negative { -value } else { value }) as f64, at));
    }
    let value = if exact && fraction < POWERS.len() && mantissa <= EXACT {
        let value = mantissa as f64 / POWERS[fraction];
        if negative { -value } else { value }
    } else {
        if at > LONGEST_FLOAT {
            return None;
        }
        let value: f64 = core::str::from_utf8(&data[..at]).ok()?.parse().ok()?;
        if !value.is_finite() {
            return None;
        }
        value
    };
    Some((value, at))
}

/// An integer of at most 18 digits.
#[inline]
pub fn integer(data: &[u8]) -> Option<(i64, usize)> {
    let negative = data.first() == Some(&b'-');
    let begin = usize::from(negative);
    let mut at = begin;
    let mut value = 0i64;
    while at < data.len() && class::is(data[at], DIGIT) {
        if at - begin == 18 {
            return None;
        }
        value = value * 10 + i64::from(data[at] - b'0');
        at += 1;
    }
    let digits = at - begin;
    if digits == 0 || (digits > 1 && data[begin] == b'0') || matches!(data.get(at), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    Some((if negative { -value } else { value }, at))
}

/// `true` or `false`.
#[inline]
pub fn boolean(data: &[u8]) -> Option<(bool, usize)> {
    if data.starts_with(b"true") {
        Some((true, 4))
    } else if data.starts_with(b"false") {
        Some((false, 5))
    } else {
        None
    }
}

/// A decimal number as text: the characters between the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'a> {
    pub text: &'a [u8],
    pub negative: bool,
    pub zero: bool,
}

const DECIMAL_DIGITS: usize = 18;

/// A string of at most 18 digits, and as many behind a point; no exponent.
#[inline]
pub fn decimal(data: &[u8]) -> Option<(Decimal<'_>, usize)> {
    if data.first() != Some(&b'"') {
        return None;
    }
    let negative = data.get(1) == Some(&b'-');
    let begin = 1 + usize::from(negative);
    let mut at = begin;
    let mut some = 0;
    while at < data.len() && class::is(data[at], DIGIT) {
        some |= data[at] - b'0';
        at += 1;
    }
    if at == begin || at - begin > DECIMAL_DIGITS {
        return None;
    }
    if data.get(at) == Some(&b'.') {
        at += 1;
        let first = at;
        while at < data.len() && class::is(data[at], DIGIT) {
            some |= data[at] - b'0';
            at += 1;
        }
        if at == first || at - first > DECIMAL_DIGITS {
            return None;
        }
    }
    if data.get(at) != Some(&b'"') {
        return None;
    }
    Some((Decimal { text: &data[1..at], negative, zero: some == 0 }, at + 1))
}

/// A moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub microsecond: u32,
}

const MONTHS: [u8; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

#[inline(always)]
fn two(data: &[u8], at: usize) -> Option<u8> {
    let (tens, ones) = (data[at].wrapping_sub(b'0'), data[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { None } else { Some(tens * 10 + ones) }
}

/// `"2021-01-08T12:00:00Z"`, with one to six digits behind the seconds or none.
#[inline]
pub fn instant(data: &[u8]) -> Option<(Instant, usize)> {
    if data.len() < 22
        || data[0] != b'"'
        || data[5] != b'-'
        || data[8] != b'-'
        || data[11] != b'T'
        || data[14] != b':'
        || data[17] != b':'
    {
        return None;
    }
    let year = u16::from(two(data, 1)?) * 100 + u16::from(two(data, 3)?);
    let (month, day) = (two(data, 6)?, two(data, 9)?);
    let (hour, minute, second) = (two(data, 12)?, two(data, 15)?, two(data, 18)?);
    if year == 0 || month == 0 || month > 12 || day == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if day > MONTHS[month as usize] + u8::from(month == 2 && leap) {
        return None;
    }
    let mut at = 20;
    let mut microsecond = 0;
    if data[at] == b'.' {
        at += 1;
        let mut digits = 0;
        while digits < 6 && at < data.len() && class::is(data[at], DIGIT) {
            microsecond = microsecond * 10 + u32::from(data[at] - b'0');
            digits += 1;
            at += 1;
        }
        if digits == 0 {
            return None;
        }
        while digits < 6 {
            microsecond *= 10;
            digits += 1;
        }
    }
    if data.get(at) != Some(&b'Z') || data.get(at + 1) != Some(&b'"') {
        return None;
    }
    Some((Instant { year, month, day, hour, minute, second, microsecond }, at + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{IDENTIFIER, SYMBOL, TEXT};
    use proptest::prelude::*;

    #[test]
    fn text_is_taken_as_far_as_it_stands_for_itself() {
        assert_eq!(text(b"\"ab\",", IDENTIFIER), Some((Text { bytes: b"ab", length: 2, ascii: true }, 4)));
        assert_eq!(text("\"\u{e9}\"".as_bytes(), SYMBOL).unwrap().0.length, 1);
        for (data, class) in [
            (&b"\"a b\""[..], IDENTIFIER),
            (b"\"a\\n\"", TEXT),
            (b"\"a\x01\"", TEXT),
            (b"\"a\x7f\"", SYMBOL),
            (b"\"\xff\"", TEXT),
            (b"\"a", TEXT),
            (b"a", TEXT),
            (b"", TEXT),
        ] {
            assert_eq!(text(data, class), None, "{data:?}");
        }
    }

    #[test]
    fn numbers_of_another_form_are_left() {
        for data in [&b"01"[..], b"-", b".5", b"5.", b"1e", b"1e+", b"+1", b"", b"1e999", b"1234567890123456"] {
            assert_eq!(float(data), None, "{data:?}");
        }
        for data in [&b"01"[..], b"1.0", b"1e3", b"-", b"", b"1234567890123456789"] {
            assert_eq!(integer(data), None, "{data:?}");
        }
        assert!(float(b"-0").unwrap().0.is_sign_positive());
        assert!(float(b"-0.0").unwrap().0.is_sign_negative());
    }

    #[test]
    fn days_of_every_month_are_known() {
        for (data, taken) in [
            (&b"\"2020-02-29T00:00:00Z\""[..], true),
            (b"\"2021-02-29T00:00:00Z\"", false),
            (b"\"1900-02-29T00:00:00Z\"", false),
            (b"\"2000-02-29T23:59:59.5Z\"", true),
            (b"\"2021-01-01T23:59:60Z\"", false),
            (b"\"2021-01-01T00:00:00.1234567Z\"", false),
            (b"\"2021-01-01T00:00:00.Z\"", false),
            (b"\"2021-01-01T00:00:00+00:00\"", false),
            (b"\"0000-01-01T00:00:00Z\"", false),
            (b"\"2021-01-01T00:00:00Z", false),
        ] {
            assert_eq!(instant(data).is_some(), taken, "{data:?}");
        }
    }

    #[test]
    fn lengths_of_bars() {
        for text in [&b"1s"[..], b"500ms", b"5m", b"10h", b"1d"] {
            assert!(is_interval(text), "{text:?}");
        }
        for text in [&b""[..], b"s", b"0s", b"01s", b"1", b"1x", b"1ms ", b"1sm", b"-1s", b"1 s"] {
            assert!(!is_interval(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (blanks(&data), text(&data, TEXT), float(&data), integer(&data), boolean(&data));
            let _ = is_interval(&data);
            let _ = (decimal(&data), instant(&data));
        }

        #[test]
        fn floats_are_read_as_the_standard_library_reads_them(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            let written = format!("{value:?}");
            if let Some((read, size)) = float(written.as_bytes()) {
                prop_assert_eq!(size, written.len());
                prop_assert_eq!(read.to_bits(), value.to_bits());
            }
        }

        #[test]
        fn numbers_with_a_point_are_read_in_either_way(text in "-?(0|[1-9]?[0-9]{0,12})\\.[0-9]{0,12}[e,}]?1?") {
            prop_assert_eq!(float(text.as_bytes()), any_float(text.as_bytes()));
        }

        #[test]
        fn decimal_digits_are_read_with_the_right_rounding(text in "[1-9][0-9]{0,20}\\.[0-9]{1,20}(e-?[0-9]{1,2})?") {
            let (read, _) = float(text.as_bytes()).unwrap();
            prop_assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn integers_come_back(value in -999_999_999_999_999_999i64..=999_999_999_999_999_999) {
            let written = value.to_string();
            prop_assert_eq!(integer(written.as_bytes()), Some((value, written.len())));
        }
    }
}
