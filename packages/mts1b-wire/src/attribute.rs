//! Attributes of Python objects that are looked at for every event.

use crate::cell::Locked;
use crate::object::{self, Object, Owned, Slot};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use std::sync::Arc;

/// An attribute that a class keeps in a slot, read and set where it lies; of objects of other classes, or where it is in
/// no slot, as Python does.
pub struct Attribute {
    name: Py<PyString>,
    class: Py<PyType>,
    slot: Option<Slot>,
}

impl Attribute {
    /// The attribute `name` of objects like `object`.
    pub fn of(object: &Bound<'_, PyAny>, name: &str) -> Self {
        Self::of_class(&object.get_type(), name)
    }

    /// The attribute `name` of objects of `class`.
    pub fn of_class(class: &Bound<'_, PyType>, name: &str) -> Self {
        let slot = class.getattr(name).ok().and_then(|found| Slot::new(class, &found).ok());
        Self { name: PyString::intern(class.py(), name).unbind(), class: class.clone().unbind(), slot }
    }

    /// What it is now.
    #[inline(always)]
    pub fn get(&self, py: Python<'_>, object: &Py<PyAny>) -> PyResult<Owned> {
        // SAFETY: the reference keeps the object alive.
        unsafe { self.get_of(py, object.as_ptr()) }
    }

    /// As `get`.
    ///
    /// # Safety
    /// `object` is alive.
    #[inline(always)]
    pub unsafe fn get_of(&self, py: Python<'_>, object: Object) -> PyResult<Owned> {
        // SAFETY: a slot of the object's own class; NULL there is an attribute that was never set.
        unsafe {
            if let Some(slot) = self.slot_of(object) {
                let found = slot.get(object);
                if !found.is_null() {
                    return Ok(Owned::of(found));
                }
            }
            let found = Owned::new(ffi::PyObject_GetAttr(object, self.name.as_ptr()));
            found.ok_or_else(|| object::raised(py))
        }
    }

    /// Whether it is true.
    #[inline(always)]
    pub fn is_true(&self, py: Python<'_>, object: &Py<PyAny>) -> PyResult<bool> {
        let found = self.get(py, object)?;
        // SAFETY: alive.
        unsafe {
            if found.as_ptr() == ffi::Py_False() {
                return Ok(false);
            }
            match ffi::PyObject_IsTrue(found.as_ptr()) {
                -1 => Err(object::raised(py)),
                truth => Ok(truth == 1),
            }
        }
    }

    /// The whole number that it is.
    #[inline(always)]
    pub fn number(&self, py: Python<'_>, object: &Py<PyAny>) -> PyResult<i64> {
        let found = self.get(py, object)?;
        // SAFETY: alive.
        let number = unsafe { ffi::PyLong_AsLongLong(found.as_ptr()) };
        if number == -1 && PyErr::occurred(py) { Err(object::raised(py)) } else { Ok(number) }
    }

    /// Make it this number.
    #[inline(always)]
    pub fn set_number(&self, py: Python<'_>, object: &Py<PyAny>, number: i64) -> PyResult<()> {
        // SAFETY: a new reference, or NULL with an error.
        let value = unsafe { Owned::new(ffi::PyLong_FromLongLong(number)) };
        self.set(py, object, value.ok_or_else(|| object::raised(py))?)
    }

    /// Make it `value`.
    #[inline(always)]
    pub fn set(&self, py: Python<'_>, object: &Py<PyAny>, value: Owned) -> PyResult<()> {
        // SAFETY: the object is alive; the slot takes the reference over.
        unsafe {
            match self.slot_of(object.as_ptr()) {
                Some(slot) => slot.set(object.as_ptr(), value.into_ptr()),
                None if ffi::PyObject_SetAttr(object.as_ptr(), self.name.as_ptr(), value.as_ptr()) != 0 => {
                    return Err(object::raised(py));
                }
                None => (),
            }
            Ok(())
        }
    }

    #[inline(always)]
    unsafe fn slot_of(&self, object: Object) -> Option<Slot> {
        // SAFETY: alive.
        if unsafe { ffi::Py_TYPE(object) } == self.class.as_ptr().cast() { self.slot } else { None }
    }
}

/// An attribute of objects of a class that the first of them shows.
pub struct Learnt {
    name: &'static str,
    known: Locked<Option<Arc<Attribute>>>,
}

impl Learnt {
    pub fn new(name: &'static str) -> Self {
        Self { name, known: Locked::new(None) }
    }

    /// What it is of `object`.
    #[inline(always)]
    pub fn of(&self, py: Python<'_>, object: &Owned) -> PyResult<Owned> {
        let known = match self.known.with(py, |known| known.clone()) {
            Some(known) => known,
            None => self.learn(py, object),
        };
        // SAFETY: alive.
        unsafe { known.get_of(py, object.as_ptr()) }
    }

    #[cold]
    fn learn(&self, py: Python<'_>, object: &Owned) -> Arc<Attribute> {
        // SAFETY: alive.
        let like = unsafe { Bound::from_borrowed_ptr(py, object.as_ptr()) };
        let made = Arc::new(Attribute::of(&like, self.name));
        let old = self.known.with(py, |known| known.replace(Arc::clone(&made)));
        drop(old);
        made
    }
}
