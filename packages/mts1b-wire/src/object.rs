//! Steps of CPython's C API, one small function each. Every function here wants the GIL; pointers are to live objects.

use pyo3::exceptions::{PyImportError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

pub type Object = *mut ffi::PyObject;

/// An object that is ours, given back when it is dropped.
pub struct Owned(ptr::NonNull<ffi::PyObject>);

impl Owned {
    /// Take over a new reference; None for NULL.
    ///
    /// # Safety
    /// `object` is NULL or a reference that nobody else gives back.
    #[inline(always)]
    pub unsafe fn new(object: Object) -> Option<Self> {
        ptr::NonNull::new(object).map(Self)
    }

    /// A reference of our own to `object`.
    ///
    /// # Safety
    /// `object` is alive.
    #[inline(always)]
    pub unsafe fn of(object: Object) -> Self {
        // SAFETY: alive, hence not NULL.
        unsafe {
            ffi::Py_INCREF(object);
            Self(ptr::NonNull::new_unchecked(object))
        }
    }

    #[inline(always)]
    pub fn as_ptr(&self) -> Object {
        self.0.as_ptr()
    }

    /// Hand the reference on.
    #[inline(always)]
    pub fn into_ptr(self) -> Object {
        let object = self.0.as_ptr();
        std::mem::forget(self);
        object
    }
}

impl Drop for Owned {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and the GIL is held wherever these live: on the stack of a call from Python.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

/// Load what the datetime module shows to C.
pub fn import() -> PyResult<()> {
    // SAFETY: called while the module is initialised, with the GIL.
    unsafe {
        ffi::PyDateTime_IMPORT();
        if ffi::PyDateTimeAPI().is_null() {
            return Err(PyImportError::new_err("the datetime module has no C API"));
        }
    }
    Ok(())
}

/// CPython's `PyMemberDescrObject`, which pyo3 does not have: PyObject_HEAD, type, name, qualname, member.
#[repr(C)]
struct MemberDescriptor {
    head: ffi::PyObject,
    class: *mut ffi::PyTypeObject,
    name: Object,
    qualname: Object,
    member: *mut ffi::PyMemberDef,
}

/// Where in an instance the slot of a class made with `__slots__` lies.
///
/// Reading and writing it there is what the descriptor itself does, after having looked itself up.
#[derive(Clone, Copy)]
pub struct Slot(isize);

impl Slot {
    /// The slot of `class` that `descriptor`, a member descriptor of it or of a base, stands for.
    pub fn new(class: &Bound<'_, PyType>, descriptor: &Bound<'_, PyAny>) -> PyResult<Self> {
        let object = descriptor.as_ptr();
        // SAFETY: the type says that the object has the layout of a member descriptor, which CPython has not changed
        // since 2.2; an import with another layout fails the unit tests of this file's callers at once.
        unsafe {
            if ffi::Py_TYPE(object) != &raw mut ffi::PyMemberDescr_Type {
                return Err(PyTypeError::new_err("no slot of a class"));
            }
            if ffi::PyType_IsSubtype(class.as_type_ptr(), (*object.cast::<MemberDescriptor>()).class) == 0 {
                return Err(PyTypeError::new_err("a slot of another class"));
            }
            let member = (*object.cast::<MemberDescriptor>()).member;
            if (*member).type_code != ffi::Py_T_OBJECT_EX || (*member).flags & ffi::Py_READONLY != 0 {
                return Err(PyTypeError::new_err("no slot that holds an object"));
            }
            Ok(Self((*member).offset))
        }
    }

    #[inline(always)]
    unsafe fn of(self, instance: Object) -> *mut Object {
        // SAFETY: the callers' instances are of the class that the slot was found in, or of a subclass.
        unsafe { instance.cast::<u8>().offset(self.0).cast() }
    }

    /// Set the slot of an instance that was just allocated, so that it is empty.
    ///
    /// # Safety
    /// `instance` is of the slot's class and fresh; the reference to `value` is handed over.
    #[inline(always)]
    pub unsafe fn fill(self, instance: Object, value: Object) {
        // SAFETY: see above.
        unsafe { *self.of(instance) = value }
    }

    /// What is in the slot, borrowed; NULL for nothing.
    ///
    /// # Safety
    /// `instance` is of the slot's class.
    #[inline(always)]
    pub unsafe fn get(self, instance: Object) -> Object {
        // SAFETY: see above.
        unsafe { *self.of(instance) }
    }

    /// Put something else into the slot.
    ///
    /// # Safety
    /// `instance` is of the slot's class; the reference to `value` is handed over.
    #[inline(always)]
    pub unsafe fn set(self, instance: Object, value: Object) {
        // SAFETY: see above; the old value is given back last, as that may run code of its own.
        unsafe {
            let at = self.of(instance);
            let old = *at;
            *at = value;
            ffi::Py_XDECREF(old);
        }
    }
}

unsafe extern "C" {
    fn _PyGen_SetStopIterationValue(value: Object) -> c_int;
    fn _PyType_Lookup(class: *mut ffi::PyTypeObject, name: Object) -> Object;
}

/// The `__dict__` of an instance.
///
/// # Safety
/// `instance` is alive.
#[inline(always)]
pub unsafe fn dict_of(instance: Object) -> Option<Owned> {
    // SAFETY: what `instance.__dict__` does for a class that has no descriptor of its own for it.
    unsafe { Owned::new(ffi::PyObject_GenericGetDict(instance, ptr::null_mut())) }
}

/// A new instance of `class`, with all slots empty and no `__init__` called.
///
/// # Safety
/// `class` is a heap type without a `__new__` of its own.
#[inline(always)]
pub unsafe fn allocate(class: *mut ffi::PyTypeObject) -> Option<Owned> {
    // SAFETY: a ready type has an allocator.
    unsafe { Owned::new(((*class).tp_alloc.unwrap_unchecked())(class, 0)) }
}

/// What `class` or one of its bases has under `name`, borrowed; NULL for nothing. No descriptor is called.
///
/// # Safety
/// `name` is a string.
#[inline(always)]
pub unsafe fn lookup(class: *mut ffi::PyTypeObject, name: Object) -> Object {
    // SAFETY: as pydantic-core and Cython, which use it for its cache.
    unsafe { _PyType_Lookup(class, name) }
}

/// The characters of a string that has ASCII only; None for any other.
///
/// # Safety
/// `object` is a `str`; the slice is looked at while it is alive.
#[inline(always)]
pub unsafe fn ascii<'a>(object: Object) -> Option<&'a [u8]> {
    // SAFETY: a compact ASCII string has its characters behind its head.
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(object) == 0 {
            return None;
        }
        let size = ffi::PyUnicode_GET_LENGTH(object) as usize;
        Some(std::slice::from_raw_parts(ffi::PyUnicode_DATA(object).cast(), size))
    }
}

/// A string in UTF-8; None for one with a lone surrogate.
///
/// # Safety
/// `object` is a `str`; the slice is looked at while it is alive.
#[inline(always)]
pub unsafe fn utf8<'a>(object: Object) -> Option<&'a [u8]> {
    // SAFETY: CPython keeps the UTF-8 form with the string.
    unsafe {
        if let Some(found) = ascii(object) {
            return Some(found);
        }
        let mut size = 0;
        let data = ffi::PyUnicode_AsUTF8AndSize(object, &mut size);
        if data.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(std::slice::from_raw_parts(data.cast(), size as usize))
    }
}

/// A new `str` of these ASCII characters.
///
/// # Safety
/// `text` is ASCII.
#[inline(always)]
pub unsafe fn ascii_str(text: &[u8]) -> Option<Owned> {
    // SAFETY: the characters are copied into the string that was made for them.
    unsafe {
        let made = ffi::PyUnicode_New(text.len() as isize, 127);
        if made.is_null() {
            return None;
        }
        if !text.is_empty() {
            ptr::copy_nonoverlapping(text.as_ptr(), ffi::PyUnicode_DATA(made).cast(), text.len());
        }
        Owned::new(made)
    }
}

/// A new `str` of valid UTF-8.
#[inline(always)]
pub fn utf8_str(text: &[u8]) -> Option<Owned> {
    // SAFETY: checks what it is given; an error is none of ours.
    unsafe {
        let made = Owned::new(ffi::PyUnicode_DecodeUTF8(text.as_ptr().cast(), text.len() as isize, ptr::null()));
        if made.is_none() {
            ffi::PyErr_Clear();
        }
        made
    }
}

/// New `bytes`.
#[inline(always)]
pub fn bytes(data: &[u8]) -> Option<Owned> {
    // SAFETY: copies.
    unsafe { Owned::new(ffi::PyBytes_FromStringAndSize(data.as_ptr().cast::<c_char>(), data.len() as isize)) }
}

/// What is in `object`.
///
/// # Safety
/// `object` is `bytes`; the slice is looked at while it is alive.
#[inline(always)]
pub unsafe fn bytes_of<'a>(object: Object) -> &'a [u8] {
    // SAFETY: see above.
    unsafe { std::slice::from_raw_parts(ffi::PyBytes_AS_STRING(object).cast(), ffi::Py_SIZE(object) as usize) }
}

/// A datetime in the zone `utc`.
///
/// # Safety
/// `utc` is a tzinfo.
#[inline(always)]
pub unsafe fn datetime(at: &mts1b_wire_bytes::json::Instant, utc: Object) -> Option<Owned> {
    // SAFETY: the API was imported; every part is within its range.
    unsafe {
        let api = &*ffi::PyDateTimeAPI();
        Owned::new((api.DateTime_FromDateAndTime)(
            c_int::from(at.year),
            c_int::from(at.month),
            c_int::from(at.day),
            c_int::from(at.hour),
            c_int::from(at.minute),
            c_int::from(at.second),
            at.microsecond as c_int,
            utc,
            api.DateTimeType,
        ))
    }
}

/// Add `more` to the count that `dict` has under `key`; false with an exception set.
///
/// # Safety
/// `dict` is a dict.
#[inline(always)]
pub unsafe fn count(dict: Object, key: Object, more: i64) -> bool {
    // SAFETY: borrowed references are used at once.
    unsafe {
        let old = ffi::PyDict_GetItemWithError(dict, key);
        let mut sum = more;
        if !old.is_null() {
            sum += ffi::PyLong_AsLongLong(old);
        }
        if !ffi::PyErr_Occurred().is_null() {
            return false;
        }
        match Owned::new(ffi::PyLong_FromLongLong(sum)) {
            Some(sum) => ffi::PyDict_SetItem(dict, key, sum.as_ptr()) == 0,
            None => false,
        }
    }
}

/// The exception that is set.
pub fn raised(py: Python<'_>) -> PyErr {
    PyErr::fetch(py)
}

/// Raise `StopIteration` with this value, as a generator that returns it.
///
/// # Safety
/// `value` is alive.
pub unsafe fn set_stop_iteration(value: Object) {
    // SAFETY: what CPython's own generators call; it takes a reference of its own.
    unsafe {
        _PyGen_SetStopIterationValue(value);
    }
}

/// Make a type of slots, and put it into the module under the last part of its name.
pub fn make_type(
    module: &Bound<'_, PyModule>,
    name: &'static CStr,
    basic_size: c_int,
    item_size: c_int,
    flags: u32,
    slots: &mut [ffi::PyType_Slot],
) -> PyResult<*mut ffi::PyTypeObject> {
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: basic_size,
        itemsize: item_size,
        flags,
        slots: slots.as_mut_ptr(),
    };
    let py = module.py();
    // SAFETY: the slots end with an empty one, their functions have the signatures that the slots want, and the sizes
    // are those of the layouts.
    unsafe {
        let class = ffi::PyType_FromSpec(&mut spec);
        let class: Bound<'_, PyAny> = Bound::from_owned_ptr_or_err(py, class)?;
        let short = name.to_string_lossy().rsplit('.').next().unwrap_or_default().to_owned();
        module.add(short, &class)?;
        Ok(class.into_ptr().cast()) // kept for ever: instances are made by address
    }
}
