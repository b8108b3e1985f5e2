//! Templates of frames, as the pure encoder makes and keeps them.

use crate::object::{self, Object, Owned, Slot};
use mts1b_wire_bytes::class;
use mts1b_wire_bytes::frames::Lead;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyType};

/// Where a template of the pure encoder keeps its bytes.
#[derive(Clone, Copy)]
pub struct TemplateSlots {
    line: Slot,
    block: Slot,
}

impl TemplateSlots {
    pub fn new(class: &Bound<'_, PyType>) -> PyResult<Self> {
        Ok(Self {
            line: Slot::new(class, &class.getattr("_line")?)?,
            block: Slot::new(class, &class.getattr("_block")?)?,
        })
    }

    /// What `template` writes in front.
    ///
    /// # Safety
    /// `template` is of the class, and alive as long as what is returned.
    #[inline(always)]
    pub unsafe fn lead<'a>(self, template: Object) -> Option<Lead<'a>> {
        // SAFETY: see above; a template never changes.
        unsafe {
            let (line, block) = (self.line.get(template), self.block.get(template));
            if line.is_null()
                || block.is_null()
                || ffi::PyBytes_CheckExact(line) == 0
                || ffi::PyBytes_CheckExact(block) == 0
            {
                return None;
            }
            Some(Lead { line: object::bytes_of(line), block: object::bytes_of(block) })
        }
    }
}

/// An id that goes into a header as it is.
///
/// # Safety
/// The slice is looked at while `object` is alive.
#[inline(always)]
pub unsafe fn plain_id<'a>(object: Object) -> Option<&'a [u8]> {
    // SAFETY: see above.
    unsafe {
        if ffi::PyUnicode_CheckExact(object) == 0 {
            return None;
        }
        let text = object::ascii(object)?;
        (!text.is_empty() && class::run(text, class::IDENTIFIER) == text.len()).then_some(text)
    }
}

/// The templates that an encoder has made so far, by the values of the fields that they depend on.
pub struct Templates {
    known: Py<PyDict>,
    class: Py<PyType>,
    names: Vec<Py<PyString>>,
}

impl Templates {
    pub fn new(known: Py<PyDict>, class: &Bound<'_, PyType>, names: &[Bound<'_, PyString>]) -> PyResult<Self> {
        let interned = |name: &Bound<'_, PyString>| Ok(PyString::intern(class.py(), name.to_str()?).unbind());
        Ok(Self { known, class: class.clone().unbind(), names: names.iter().map(interned).collect::<PyResult<_>>()? })
    }

    /// The template for what is said in the fields of `event` that it depends on, if there is one.
    ///
    /// # Safety
    /// `event` is alive, and of a class whose instances have a dict.
    #[inline(always)]
    pub unsafe fn find(&self, py: Python<'_>, event: Object) -> PyResult<Option<Owned>> {
        // SAFETY: values are borrowed from the event's dict, and kept by a tuple of our own where there are several.
        unsafe {
            let Some(dict) = object::dict_of(event) else { return Err(object::raised(py)) };
            let found = if let [name] = &self.names[..] {
                let key = ffi::PyDict_GetItemWithError(dict.as_ptr(), name.as_ptr());
                if key.is_null() { key } else { ffi::PyDict_GetItemWithError(self.known.as_ptr(), key) }
            } else if self.names.is_empty() {
                ffi::PyDict_GetItemWithError(self.known.as_ptr(), ffi::Py_None())
            } else {
                let Some(key) = Owned::new(ffi::PyTuple_New(self.names.len() as isize)) else {
                    return Err(object::raised(py));
                };
                for (at, name) in self.names.iter().enumerate() {
                    let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), name.as_ptr());
                    if value.is_null() {
                        return if PyErr::occurred(py) { Err(object::raised(py)) } else { Ok(None) };
                    }
                    ffi::PyTuple_SET_ITEM(key.as_ptr(), at as isize, Owned::of(value).into_ptr());
                }
                ffi::PyDict_GetItemWithError(self.known.as_ptr(), key.as_ptr())
            };
            if found.is_null() {
                return if PyErr::occurred(py) { Err(object::raised(py)) } else { Ok(None) };
            }
            Ok((ffi::Py_TYPE(found) == self.class.as_ptr().cast()).then(|| Owned::of(found)))
        }
    }
}

/// The templates for `events` of the class `payload`; `remember` makes those that are not among the `known`.
#[pyfunction]
pub fn find_templates<'py>(
    events: &Bound<'py, PyList>,
    payload: &Bound<'py, PyType>,
    names: Vec<Bound<'py, PyString>>,
    known: Py<PyDict>,
    template: &Bound<'py, PyType>,
    remember: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = events.py();
    let templates = Templates::new(known, template, &names)?;
    let found = PyList::empty(py);
    for event in events.iter() {
        let common = if event.get_type().is(payload) {
            // SAFETY: an instance of a model has a dict.
            unsafe { templates.find(py, event.as_ptr())? }
        } else {
            None
        };
        match common {
            // SAFETY: a reference of our own.
            Some(common) => found.append(unsafe { Bound::from_owned_ptr(py, common.into_ptr()) })?,
            None => found.append(remember.call1((event,))?)?,
        }
    }
    Ok(found)
}
