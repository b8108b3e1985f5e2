//! The dicts of instances: a copy of one that has what most of them have, with the rest set.

use super::kind::Field;
use crate::cell::Locked;
use crate::object::{Object, Owned};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// So often in a row a field holds the same object before it is one that most have.
const ROW: u8 = 16;

struct Usual {
    dict: Py<PyDict>,
    /// Counted up with every change of it.
    version: u64,
    /// What it holds, by field.
    values: Vec<Py<PyAny>>,
    /// What the last instance held instead, by its address, and how often in a row.
    last: Vec<(usize, u8)>,
}

/// What most instances of a model hold: at first the defaults, then what comes again and again.
pub struct Dicts(Locked<Usual>);

impl Dicts {
    /// `template` holds the defaults, in the order of the fields.
    pub fn new(py: Python<'_>, template: Py<PyDict>, fields: &[Field]) -> Self {
        let values = fields.iter().map(|field| field.default.clone_ref(py)).collect();
        Self(Locked::new(Usual { dict: template, version: 0, values, last: vec![(0, 0); fields.len()] }))
    }

    /// A new dict with `values` of the fields of `set`, and with the defaults of the others.
    ///
    /// # Safety
    /// The values of `set` are alive.
    #[inline(always)]
    pub unsafe fn get(&self, py: Python<'_>, fields: &[Field], set: u64, values: &[Object]) -> Option<Owned> {
        loop {
            // SAFETY: a reference of our own; a copy may have the garbage collected, and whatever runs then come back
            // here.
            let (made, version) = unsafe {
                let (usual, version) = self.0.with(py, |usual| (Owned::of(usual.dict.as_ptr()), usual.version));
                (Owned::new(ffi::PyDict_Copy(usual.as_ptr()))?, version)
            };
            let filled = self.0.with(py, |usual| {
                if usual.version != version {
                    return None;
                }
                // SAFETY: alive, and copied from what is usual now.
                Some(unsafe { usual.fill(py, &made, fields, set, values) })
            });
            if let Some((is_full, old)) = filled {
                drop(old);
                return is_full.then_some(made);
            }
        }
    }
}

impl Usual {
    /// Set in `made`, a copy, what is not usual; false with an exception set. What is usual no more is handed out.
    #[inline(always)]
    unsafe fn fill(
        &mut self,
        py: Python<'_>,
        made: &Owned,
        fields: &[Field],
        set: u64,
        values: &[Object],
    ) -> (bool, Option<Py<PyAny>>) {
        let mut old = None;
        for (at, (field, usual)) in fields.iter().zip(&mut self.values).enumerate() {
            let value = if set >> at & 1 != 0 { values[at] } else { field.default.as_ptr() };
            if value == usual.as_ptr() {
                continue;
            }
            // SAFETY: dicts, names and values are alive; the names are there already, so that nothing is allocated, and
            // what they stood for is held by `usual`, so that nothing is given back.
            unsafe {
                if ffi::PyDict_SetItem(made.as_ptr(), field.name.as_ptr(), value) != 0 {
                    return (false, old);
                }
                let (last, row) = &mut self.last[at];
                *row = if *last == value.addr() { *row + 1 } else { 0 };
                *last = value.addr();
                if *row < ROW {
                    continue;
                }
                *row = 0;
                if old.is_none() && field.item.kind.is_shared() {
                    if ffi::PyDict_SetItem(self.dict.as_ptr(), field.name.as_ptr(), value) != 0 {
                        return (false, old);
                    }
                    old = Some(std::mem::replace(usual, Bound::from_borrowed_ptr(py, value).unbind()));
                    self.version += 1;
                }
            }
        }
        (true, old)
    }
}
