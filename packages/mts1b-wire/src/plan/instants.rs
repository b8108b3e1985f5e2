//! The moment that was read last: an event often says the same one twice, and many events of a batch share one.

use crate::cell::Locked;
use crate::object::{self, Owned};
use mts1b_wire_bytes::json;
use mts1b_wire_bytes::same::begins;
use pyo3::prelude::*;

/// The longest: 26 digits and marks, a `Z` and the quotes.
const LONGEST: usize = 29;

struct Known {
    size: u8,
    text: [u8; LONGEST],
    instant: Py<PyAny>,
}

/// The moments of one plan. They are immutable: fields and events share them.
pub struct Instants {
    pub utc: Py<PyAny>,
    last: Locked<Option<Known>>,
}

impl Instants {
    /// In the zone `utc`, which is a tzinfo.
    pub fn new(utc: Py<PyAny>) -> Self {
        Self { utc, last: Locked::new(None) }
    }

    /// The moment in front of `data`, and how many bytes it took.
    #[inline(always)]
    pub fn get(&self, py: Python<'_>, data: &[u8]) -> Option<(Owned, usize)> {
        let known = self.last.with(py, |last| {
            let last = last.as_ref()?;
            let size = usize::from(last.size);
            // SAFETY: alive, as it is remembered.
            begins(data, &last.text[..size]).then(|| (unsafe { Owned::of(last.instant.as_ptr()) }, size))
        });
        if known.is_some() {
            return known;
        }
        let (value, size) = json::instant(data)?;
        // SAFETY: the zone is a tzinfo.
        let made = unsafe { object::datetime(&value, self.utc.as_ptr()) }?;
        let mut text = [0; LONGEST];
        text.get_mut(..size)?.copy_from_slice(&data[..size]);
        // SAFETY: a further reference, of the plan's own.
        let instant = unsafe { Bound::from_borrowed_ptr(py, made.as_ptr()) }.unbind();
        let old = self.last.with(py, |last| last.replace(Known { size: size as u8, text, instant }));
        drop(old);
        Some((made, size))
    }
}
