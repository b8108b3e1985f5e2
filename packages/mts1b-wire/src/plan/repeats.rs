//! What a field said last: events say most of it again, byte by byte, and then nothing of it is read anew.

use super::hits::Hits;
use crate::cell::Locked;
use crate::object::Owned;
use mts1b_wire_bytes::same::begins;
use pyo3::prelude::*;

/// Longer ones are not remembered.
const LONGEST: usize = 128;

#[derive(Default)]
struct Last {
    /// From the key to the comma or brace behind the value.
    text: Vec<u8>,
    value: Option<Py<PyAny>>,
    hits: Hits,
}

/// What each field of a plan held last, where it is nothing that changes.
pub struct Repeats(Locked<Vec<Last>>);

impl Repeats {
    /// For so many values.
    pub fn new(values: usize) -> Self {
        Self(Locked::new(std::iter::repeat_with(Last::default).take(values).collect()))
    }

    /// The value, where `data` begins with what `number` said last, and how many bytes that is with what ends it; and
    /// whether to remember what it says instead.
    #[inline(always)]
    pub fn get(&self, py: Python<'_>, number: usize, data: &[u8]) -> (Option<(Owned, usize)>, bool) {
        self.0.with(py, |all| {
            let last = &mut all[number];
            if !last.hits.pays() {
                return (None, false);
            }
            match &last.value {
                Some(value) if begins(data, &last.text) => {
                    last.hits.hit();
                    // SAFETY: a reference of our own to what is alive.
                    (Some((unsafe { Owned::of(value.as_ptr()) }, last.text.len())), true)
                }
                _ => (None, true),
            }
        })
    }

    /// Remember that `number` said `text`, which is `value`.
    #[inline(always)]
    pub fn keep(&self, py: Python<'_>, number: usize, text: &[u8], value: &Owned) {
        if text.len() > LONGEST {
            return;
        }
        // SAFETY: a further reference, of the plan's own.
        let value = unsafe { Bound::from_borrowed_ptr(py, value.as_ptr()) }.unbind();
        let old = self.0.with(py, |all| {
            let last = &mut all[number];
            last.text.clear();
            last.text.extend_from_slice(text);
            last.value.replace(value)
        });
        drop(old);
    }
}
