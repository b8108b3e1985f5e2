//! Strings that may have been made before: symbols, accounts and sessions repeat.

use super::hits::Hits;
use crate::cell::Locked;
use crate::object::{self, Owned};
use pyo3::prelude::*;

const STRINGS: usize = 1024;
const LONGEST: usize = 64;

struct State {
    strings: Vec<Option<Py<PyAny>>>,
    hits: Vec<Hits>,
}

/// The strings of one plan.
pub struct Strings(Locked<State>);

impl Strings {
    /// For so many values.
    pub fn new(values: usize) -> Self {
        let strings = std::iter::repeat_with(|| None).take(STRINGS).collect();
        Self(Locked::new(State { strings, hits: vec![Hits::default(); values] }))
    }

    /// The string `text`, which is ASCII, of the value `number`.
    #[inline(always)]
    pub fn get(&self, py: Python<'_>, number: usize, text: &[u8]) -> Option<Owned> {
        if text.len() > LONGEST || text.is_empty() {
            // SAFETY: found to be ASCII.
            return unsafe { object::ascii_str(text) };
        }
        let slot = hash(text) % STRINGS;
        let found = self.0.with(py, |state| {
            let hits = &mut state.hits[number];
            if !hits.pays() {
                return Err(false);
            }
            if let Some(known) = &state.strings[slot] {
                // SAFETY: only ASCII strings are remembered, and this one is alive.
                if unsafe { object::ascii(known.as_ptr()) } == Some(text) {
                    hits.hit();
                    // SAFETY: as above.
                    return Ok(unsafe { Owned::of(known.as_ptr()) });
                }
            }
            Err(true)
        });
        let keep = match found {
            Ok(known) => return Some(known),
            Err(keep) => keep,
        };
        // SAFETY: found to be ASCII.
        let made = unsafe { object::ascii_str(text) }?;
        if keep {
            // SAFETY: a further reference, of the plan's own.
            let kept = unsafe { Bound::from_borrowed_ptr(py, made.as_ptr()) }.unbind();
            let old = self.0.with(py, |state| state.strings[slot].replace(kept));
            drop(old);
        }
        Some(made)
    }
}

/// A hash of bytes that come from our own server.
#[inline(always)]
pub fn hash(text: &[u8]) -> usize {
    let mut found = 0x9e37_79b9_7f4a_7c15u64 ^ text.len() as u64;
    let mut chunks = text.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        found = mixed(found, u64::from_le_bytes(word));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        found = mixed(found, u64::from_le_bytes(word));
    }
    found as usize
}

#[inline(always)]
fn mixed(found: u64, word: u64) -> u64 {
    let product = (found ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    product ^ product >> 32
}
