//! Decimals that may have been made before: sizes of lots and prices on a grid repeat.

use super::hits::Hits;
use super::strings::hash;
use crate::cell::Locked;
use crate::object::{self, Object, Owned};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;

const DECIMALS: usize = 1024;
/// Longer ones are not remembered.
const LONGEST: usize = 23;

struct Known {
    size: u8,
    text: [u8; LONGEST],
    decimal: Py<PyAny>,
}

struct State {
    known: Vec<Option<Known>>,
    hits: Vec<Hits>,
}

/// The decimals of one plan. They are immutable: events share them.
pub struct Decimals {
    pub class: Py<PyAny>,
    state: Locked<State>,
}

impl Decimals {
    /// Of the class `class`, for so many values.
    pub fn new(class: Py<PyAny>, values: usize) -> Self {
        let known = std::iter::repeat_with(|| None).take(DECIMALS).collect();
        Self { class, state: Locked::new(State { known, hits: vec![Hits::default(); values] }) }
    }

    /// The decimal that `text`, which is ASCII and a number, spells, for the value `number`.
    #[inline(always)]
    pub fn get(&self, py: Python<'_>, number: usize, text: &[u8]) -> Option<Owned> {
        if text.len() > LONGEST {
            return self.made(text);
        }
        let slot = hash(text) % DECIMALS;
        let found = self.state.with(py, |state| {
            let hits = &mut state.hits[number];
            if !hits.pays() {
                return Err(false);
            }
            match &state.known[slot] {
                Some(known) if known.text[..usize::from(known.size)] == *text => {
                    hits.hit();
                    // SAFETY: alive, as it is remembered.
                    Ok(unsafe { Owned::of(known.decimal.as_ptr()) })
                }
                _ => Err(true),
            }
        });
        let keep = match found {
            Ok(known) => return Some(known),
            Err(keep) => keep,
        };
        let made = self.made(text)?;
        if keep {
            let mut known = [0; LONGEST];
            known[..text.len()].copy_from_slice(text);
            // SAFETY: a further reference, of the plan's own.
            let decimal = unsafe { Bound::from_borrowed_ptr(py, made.as_ptr()) }.unbind();
            let kept = Known { size: text.len() as u8, text: known, decimal };
            let old = self.state.with(py, |state| state.known[slot].replace(kept));
            drop(old);
        }
        Some(made)
    }

    /// What `Decimal(text)` does, by the constructor of the class: it has no `__init__` of its own.
    #[inline(always)]
    fn made(&self, text: &[u8]) -> Option<Owned> {
        // SAFETY: digits are ASCII; a ready type has a constructor, which wants a tuple.
        unsafe {
            let text = object::ascii_str(text)?;
            let arguments = Owned::new(ffi::PyTuple_Pack(1, text.as_ptr()))?;
            let class: *mut ffi::PyTypeObject = self.class.as_ptr().cast();
            let made: Object = ((*class).tp_new.unwrap_unchecked())(class, arguments.as_ptr(), ptr::null_mut());
            Owned::new(made)
        }
    }
}
