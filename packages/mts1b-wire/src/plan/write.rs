//! Instance to JSON, as pydantic writes it; false, with whatever was written, where the pure encoder is to do it.

use super::kind::{Item, Kind, Shape};
use super::read::Parts;
use crate::object::{self, Object, Owned};
use mts1b_wire_bytes::{base64, class, escapes, numbers};
use pyo3::ffi;
use std::ptr;

/// Append the instance `event` of `shape`.
///
/// # Safety
/// The GIL is held, and `event` is alive.
#[inline]
pub unsafe fn object(parts: &Parts, shape: &Shape, event: Object, out: &mut Vec<u8>) -> bool {
    // SAFETY: the event is alive, hence its dict and what it holds; nothing here calls code that could change it.
    unsafe {
        if ffi::Py_TYPE(event) != shape.model.as_ptr().cast() {
            return false;
        }
        let Some(dict) = object::dict_of(event) else {
            ffi::PyErr_Clear();
            return false;
        };
        let dict = dict.as_ptr();
        if ffi::PyDict_CheckExact(dict) == 0 || ffi::PyDict_Size(dict) as usize != shape.fields.len() {
            return false;
        }
        let (mut position, mut key, mut value) = (0, ptr::null_mut(), ptr::null_mut());
        let begin = out.len();
        for field in &shape.fields {
            if ffi::PyDict_Next(dict, &mut position, &mut key, &mut value) == 0 {
                return false;
            }
            if key != field.name.as_ptr() && !same_name(key, &field.key) {
                return false;
            }
            field.written.put(out);
            if !item(parts, &field.item, value, out) {
                return false;
            }
        }
        match out.get_mut(begin) {
            Some(first) => *first = b'{', // in the place of a comma
            None => out.push(b'{'),
        }
        out.push(b'}');
        true
    }
}

#[inline(always)]
unsafe fn item(parts: &Parts, item: &Item, value: Object, out: &mut Vec<u8>) -> bool {
    // SAFETY: the value is alive; each branch looks at its exact type first.
    unsafe {
        if value == ffi::Py_None() {
            out.extend_from_slice(b"null");
            return item.nullable; // where it may not be, pydantic warns
        }
        match &item.kind {
            Kind::Text(_) => text(value, out),
            Kind::Float { .. } => {
                ffi::PyFloat_CheckExact(value) != 0 && numbers::put_float(out, ffi::PyFloat_AS_DOUBLE(value))
            }
            Kind::Integer { .. } => {
                if ffi::PyLong_CheckExact(value) == 0 {
                    return false;
                }
                let mut overflow = 0;
                let number = ffi::PyLong_AsLongLongAndOverflow(value, &mut overflow);
                if overflow == 0 {
                    numbers::put_signed(out, number);
                }
                overflow == 0
            }
            Kind::Boolean => {
                let is_true = value == ffi::Py_True();
                if !is_true && value != ffi::Py_False() {
                    return false;
                }
                out.extend_from_slice(if is_true { b"true" } else { b"false" });
                true
            }
            Kind::Instant => instant(parts, value, out),
            Kind::Decimal(bounds) => {
                if value == bounds.zero.as_ptr() {
                    out.extend_from_slice(b"\"0\"");
                    return true;
                }
                if ffi::Py_TYPE(value) != parts.decimals.class.as_ptr().cast() {
                    return false;
                }
                let Some(text) = Owned::new(ffi::PyObject_Str(value)) else {
                    ffi::PyErr_Clear();
                    return false;
                };
                let Some(digits) = object::ascii(text.as_ptr()) else { return false };
                quoted(out, digits);
                true
            }
            Kind::Enum { class, members } => {
                if ffi::Py_TYPE(value) != class.as_ptr().cast() {
                    return false;
                }
                match members.iter().find(|(_, member)| member.as_ptr() == value) {
                    Some((text, _)) => quoted(out, text),
                    None => return false,
                }
                true
            }
            Kind::Bytes => {
                if ffi::PyBytes_CheckExact(value) == 0 {
                    return false;
                }
                base64::put(out, object::bytes_of(value));
                true
            }
            Kind::Tuple { items, .. } => tuple(parts, items, value, out),
            Kind::Dict { value: inner, .. } => dict(parts, inner, value, out),
            Kind::Model(shape) => object(parts, shape, value, out),
        }
    }
}

#[inline(always)]
unsafe fn text(value: Object, out: &mut Vec<u8>) -> bool {
    // SAFETY: alive; looked at as a string only when it is one.
    unsafe {
        if ffi::PyUnicode_CheckExact(value) == 0 {
            return false;
        }
        let Some(text) = object::utf8(value) else { return false };
        if class::is_text(text) {
            quoted(out, text);
        } else {
            escapes::put(out, text);
        }
        true
    }
}

unsafe fn tuple(parts: &Parts, inner: &Item, value: Object, out: &mut Vec<u8>) -> bool {
    // SAFETY: alive; items are borrowed of an exact tuple, which does not change.
    unsafe {
        if ffi::PyTuple_CheckExact(value) == 0 {
            return false;
        }
        out.push(b'[');
        for at in 0..ffi::PyTuple_GET_SIZE(value) {
            if at > 0 {
                out.push(b',');
            }
            if !item(parts, inner, ffi::PyTuple_GET_ITEM(value, at), out) {
                return false;
            }
        }
        out.push(b']');
        true
    }
}

unsafe fn dict(parts: &Parts, inner: &Item, value: Object, out: &mut Vec<u8>) -> bool {
    // SAFETY: alive; keys and values are borrowed of an exact dict, which nothing here changes.
    unsafe {
        if ffi::PyDict_CheckExact(value) == 0 {
            return false;
        }
        let (mut position, mut key, mut held) = (0, ptr::null_mut(), ptr::null_mut());
        out.push(b'{');
        let begin = out.len();
        while ffi::PyDict_Next(value, &mut position, &mut key, &mut held) != 0 {
            if out.len() > begin {
                out.push(b',');
            }
            if !text(key, out) {
                return false;
            }
            out.push(b':');
            if !item(parts, inner, held, out) {
                return false;
            }
        }
        out.push(b'}');
        true
    }
}

#[inline(always)]
unsafe fn instant(parts: &Parts, value: Object, out: &mut Vec<u8>) -> bool {
    // SAFETY: an exact datetime, which has these fields; the zone is borrowed from it.
    unsafe {
        if ffi::PyDateTime_CheckExact(value) == 0 {
            return false;
        }
        let zone = ffi::PyDateTime_DATE_GET_TZINFO(value);
        if zone != ffi::PyDateTime_TimeZone_UTC() && zone != parts.instants.utc.as_ptr() {
            if ffi::Py_TYPE(zone) != ffi::Py_TYPE(parts.instants.utc.as_ptr()) {
                return false;
            }
            match ffi::PyObject_RichCompareBool(zone, parts.instants.utc.as_ptr(), ffi::Py_EQ) {
                1 => (),
                0 => return false,
                _ => {
                    ffi::PyErr_Clear();
                    return false;
                }
            }
        }
        let year = ffi::PyDateTime_GET_YEAR(value);
        let microsecond = ffi::PyDateTime_DATE_GET_MICROSECOND(value);
        out.push(b'"');
        numbers::put_two(out, (year / 100) as u8);
        numbers::put_two(out, (year % 100) as u8);
        out.push(b'-');
        numbers::put_two(out, ffi::PyDateTime_GET_MONTH(value) as u8);
        out.push(b'-');
        numbers::put_two(out, ffi::PyDateTime_GET_DAY(value) as u8);
        out.push(b'T');
        numbers::put_two(out, ffi::PyDateTime_DATE_GET_HOUR(value) as u8);
        out.push(b':');
        numbers::put_two(out, ffi::PyDateTime_DATE_GET_MINUTE(value) as u8);
        out.push(b':');
        numbers::put_two(out, ffi::PyDateTime_DATE_GET_SECOND(value) as u8);
        if microsecond != 0 {
            out.push(b'.');
            numbers::put_two(out, (microsecond / 10_000) as u8);
            numbers::put_two(out, (microsecond / 100 % 100) as u8);
            numbers::put_two(out, (microsecond % 100) as u8);
        }
        out.extend_from_slice(b"Z\"");
        true
    }
}

#[inline(always)]
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Whether a key that is another object spells the same name as `"name":`.
#[cold]
unsafe fn same_name(key: Object, quoted: &[u8]) -> bool {
    // SAFETY: looked at as a string only when it is one.
    unsafe { ffi::PyUnicode_CheckExact(key) != 0 && object::ascii(key) == Some(&quoted[1..quoted.len() - 2]) }
}
