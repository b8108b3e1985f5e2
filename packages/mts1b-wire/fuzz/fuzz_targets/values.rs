//! Whatever stands where a JSON value should: no panic, and what is read is what the standard library reads there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mts1b_wire_bytes::{base64, class, escapes, json, numbers};

fuzz_target!(|data: &[u8]| {
    if let Some((value, size)) = json::float(data) {
        let text = std::str::from_utf8(&data[..size]).unwrap();
        let theirs: f64 = text.parse().unwrap();
        assert!(value == theirs && value.is_finite(), "{text}");
        let mut out = Vec::new();
        if numbers::put_float(&mut out, value) {
            let written: f64 = std::str::from_utf8(&out).unwrap().parse().unwrap();
            assert_eq!(written.to_bits(), value.to_bits());
        }
    }
    if let Some((value, size)) = json::integer(data) {
        assert_eq!(std::str::from_utf8(&data[..size]).unwrap().parse::<i64>().unwrap(), value);
    }
    for wanted in [class::IDENTIFIER, class::SYMBOL, class::TEXT] {
        if let Some((text, size)) = json::text(data, wanted) {
            assert_eq!(text.bytes, &data[1..size - 1]);
            let read = std::str::from_utf8(text.bytes).unwrap();
            assert_eq!(read.chars().count(), text.length);
            assert_eq!(read.is_ascii(), text.ascii);
            assert!(!read.contains(['"', '\\']) && read.chars().all(|each| each >= ' '));
        }
    }
    if let Some((text, size)) = escapes::read(data) {
        assert_eq!((data[0], data[size - 1]), (b'"', b'"'));
        let mut again = Vec::new();
        escapes::put(&mut again, text.as_bytes());
        assert_eq!(escapes::read(&again), Some((text, again.len())));
    }
    if let Some((bytes, size)) = base64::read(data) {
        let mut again = Vec::new();
        base64::put(&mut again, &bytes);
        assert_eq!(again, &data[..size]);
    }
    if json::is_interval(data) {
        assert!(
            std::str::from_utf8(data).unwrap().trim_end_matches(char::is_alphabetic).parse::<f64>().unwrap() >= 1.0
        );
    }
    if let Some((value, size)) = json::decimal(data) {
        assert_eq!(value.text, &data[1..size - 1]);
        assert!(value.text.len() <= 38);
    }
    if let Some((at, size)) = json::instant(data) {
        assert!((22..=29).contains(&size));
        assert!(at.year > 0 && (1..=12).contains(&at.month) && (1..=31).contains(&at.day));
        assert!(at.hour < 24 && at.minute < 60 && at.second < 60 && at.microsecond < 1_000_000);
    }
    let _ = (json::boolean(data), json::blanks(data));
});
