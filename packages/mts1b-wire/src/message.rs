//! A message as it came off the wire, in one object: what the pure parser collects as a tuple of four `bytes`.
//!
//! It stands for that tuple: it has four items, unpacks into them, and equals them. They are made when asked for.

use crate::object::{self, Object, Owned};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[repr(C)]
struct Layout {
    head: ffi::PyVarObject,
    ends: [u32; 3],
    data: [u8; 0],
}

static TYPE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// A message, borrowed.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    data: &'a [u8],
    ends: [usize; 3],
}

impl<'a> Message<'a> {
    /// The message that `object` is, if it is one.
    ///
    /// # Safety
    /// `object` is alive as long as what is returned.
    #[inline(always)]
    pub unsafe fn of(object: Object) -> Option<Self> {
        // SAFETY: the type says what the layout is; the data lies behind the head, as many bytes as its size says.
        unsafe {
            if ffi::Py_TYPE(object) != TYPE.load(Ordering::Relaxed) {
                return None;
            }
            let layout = object.cast::<Layout>();
            let data =
                std::slice::from_raw_parts((&raw const (*layout).data).cast::<u8>(), (*layout).head.ob_size as usize);
            Some(Self { data, ends: (*layout).ends.map(|end| end as usize) })
        }
    }

    #[inline(always)]
    fn part(&self, at: usize) -> Range<usize> {
        let [subject, reply, head] = self.ends;
        match at {
            0 => 0..subject,
            1 => subject..reply,
            2 => reply..head,
            _ => head..self.data.len(),
        }
    }

    #[inline(always)]
    pub fn subject(&self) -> &'a [u8] {
        &self.data[self.part(0)]
    }

    #[inline(always)]
    pub fn reply(&self) -> &'a [u8] {
        &self.data[self.part(1)]
    }

    #[inline(always)]
    pub fn head(&self) -> &'a [u8] {
        &self.data[self.part(2)]
    }

    #[inline(always)]
    pub fn payload(&self) -> &'a [u8] {
        &self.data[self.part(3)]
    }
}

/// Make a message of its parts; None when there is no memory, or it is larger than any message.
#[inline(always)]
pub fn make(subject: &[u8], reply: &[u8], head: &[u8], payload: &[u8]) -> Option<Owned> {
    let size = subject.len() + reply.len() + head.len() + payload.len();
    if size > u32::MAX as usize {
        return None;
    }
    // SAFETY: the object is as large as its type's basic size and `size` items; every byte of it is written here.
    unsafe {
        let made = ffi::PyObject_NewVar::<Layout>(TYPE.load(Ordering::Relaxed), size as isize);
        let made = ptr::NonNull::new(made)?.as_ptr();
        let (first, second) = (subject.len(), subject.len() + reply.len());
        (*made).ends = [first as u32, second as u32, (second + head.len()) as u32];
        let mut to = (&raw mut (*made).data).cast::<u8>();
        for part in [subject, reply, head, payload] {
            ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
            to = to.add(part.len());
        }
        Owned::new(made.cast())
    }
}

unsafe extern "C" fn dealloc(object: Object) {
    // SAFETY: made by `make`, of a type on the heap, which an instance refers to.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn length(_: Object) -> ffi::Py_ssize_t {
    4
}

unsafe extern "C" fn item(object: Object, at: ffi::Py_ssize_t) -> Object {
    // SAFETY: CPython calls it for messages, alive.
    unsafe {
        let Some(message) = Message::of(object) else { return ptr::null_mut() };
        if !(0..4).contains(&at) {
            ffi::PyErr_SetString(ffi::PyExc_IndexError, c"a message has four parts".as_ptr());
            return ptr::null_mut();
        }
        object::bytes(&message.data[message.part(at as usize)]).map_or(ptr::null_mut(), Owned::into_ptr)
    }
}

/// The tuple that a message stands for; any other object as it is.
unsafe fn as_tuple(object: Object) -> Option<Owned> {
    // SAFETY: alive; a message is a sequence.
    unsafe {
        if Message::of(object).is_none() {
            return Some(Owned::of(object));
        }
        Owned::new(ffi::PySequence_Tuple(object))
    }
}

unsafe extern "C" fn compare(one: Object, other: Object, how: c_int) -> Object {
    // SAFETY: both are alive; a tuple or a message compares, anything else says for itself.
    unsafe {
        if Message::of(other).is_none() && ffi::PyTuple_Check(other) == 0 {
            return Owned::of(ffi::Py_NotImplemented()).into_ptr();
        }
        match (as_tuple(one), as_tuple(other)) {
            (Some(one), Some(other)) => ffi::PyObject_RichCompare(one.as_ptr(), other.as_ptr(), how),
            _ => ptr::null_mut(),
        }
    }
}

unsafe extern "C" fn hash(object: Object) -> ffi::Py_hash_t {
    // SAFETY: alive.
    unsafe { as_tuple(object).map_or(-1, |tuple| ffi::PyObject_Hash(tuple.as_ptr())) }
}

unsafe extern "C" fn repr(object: Object) -> Object {
    // SAFETY: alive.
    unsafe { as_tuple(object).map_or(ptr::null_mut(), |tuple| ffi::PyObject_Repr(tuple.as_ptr())) }
}

/// Whether every message of `batch` asks for an answer; false as well where one of them has another form.
#[pyfunction]
pub fn all_have_replies(batch: &Bound<'_, PyList>) -> bool {
    // SAFETY: the list keeps each of them alive while it is looked at.
    batch.iter().all(|each| unsafe { Message::of(each.as_ptr()).is_some_and(|message| !message.reply().is_empty()) })
}

/// Make the type, and put it into the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let mut slots = [
        ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: dealloc as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_sq_length, pfunc: length as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_sq_item, pfunc: item as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_richcompare, pfunc: compare as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_hash, pfunc: hash as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_repr, pfunc: repr as *mut c_void },
        ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let size = std::mem::offset_of!(Layout, data) as c_int;
    let class = object::make_type(module, c"mts1b_wire.RawMessage", size, 1, flags as u32, &mut slots)?;
    TYPE.store(class, Ordering::Relaxed);
    Ok(())
}
