//! JSON to instance: what pydantic would make of the same bytes, or nothing, where pydantic is to say.

use super::decimals::Decimals;
use super::instants::Instants;
use super::kind::{After, Bounds, Field, Item, Kind, MOST_FIELDS, Shape, Text};
use super::repeats::Repeats;
use super::strings::Strings;
use crate::object::{self, Object, Owned};
use mts1b_wire_bytes::same::begins;
use mts1b_wire_bytes::{base64, class, escapes, json};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;

/// Most sets of given fields that are remembered of a model.
const SETS: usize = 1024;

/// What the values of all shapes of a plan are made with.
pub struct Parts {
    pub instants: Instants,
    pub decimals: Decimals,
    pub strings: Strings,
    pub repeats: Repeats,
}

/// Values by field, given back when reading ends early.
struct Values {
    set: u64,
    values: [Object; MOST_FIELDS],
}

impl Values {
    /// What field number `at` holds, which has nothing yet.
    #[inline(always)]
    fn put(&mut self, at: usize, value: Owned) {
        self.values[at] = value.into_ptr();
        self.set |= 1 << at;
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        let mut set = self.set;
        while set != 0 {
            let at = set.trailing_zeros() as usize;
            // SAFETY: the bit says that the reference is ours.
            unsafe { ffi::Py_DECREF(self.values[at]) };
            set &= set - 1;
        }
    }
}

/// The instance in front of `data`, and how many bytes it took; with an exception set, one that no pydantic changes.
#[inline]
pub fn object(py: Python<'_>, parts: &Parts, shape: &Shape, data: &[u8]) -> Option<(Owned, usize)> {
    let mut read = Values { set: 0, values: [ptr::null_mut(); MOST_FIELDS] };
    let at = fields(py, parts, shape, data, &mut read)?;
    if shape.required & !read.set != 0 {
        return None;
    }
    let made = instance(py, shape, &read)?;
    match &shape.after {
        Some(after) if !passes(shape, after, &read) => Some((checked(&made, &after.validator)?, at)),
        _ => Some((made, at)),
    }
}

#[inline(always)]
fn fields(py: Python<'_>, parts: &Parts, shape: &Shape, data: &[u8], read: &mut Values) -> Option<usize> {
    let known = &shape.fields[..];
    if data.first() != Some(&b'{') {
        return None;
    }
    let (mut at, mut next, mut first) = (1, 0, true);
    loop {
        let begin = at;
        let mut keep = false;
        if let Some(field) = known.get(next) {
            let again;
            (again, keep) = parts.repeats.get(py, field.item.number, &data[at..]);
            if let Some((value, size)) = again {
                if read.set >> next & 1 != 0 {
                    return None; // twice: which of them counts is pydantic's to say
                }
                read.put(next, value);
                at += size;
                if data[at - 1] == b'}' {
                    return Some(at);
                }
                next += 1;
                first = false;
                continue;
            }
        }
        let found = match known.get(next) {
            Some(field) if begins(&data[at..], &field.key) => {
                at += field.key.len();
                next
            }
            _ => {
                at += json::blanks(&data[at..]);
                if first && data.get(at) == Some(&b'}') {
                    return Some(at + 1);
                }
                let (found, size) = key_at(known, &data[at..], next)?;
                at += size;
                found
            }
        };
        if read.set >> found & 1 != 0 {
            return None; // as above
        }
        at += json::blanks(&data[at..]);
        let own = &known[found].item;
        let (value, size) = item(py, parts, own, &data[at..])?;
        at += size;
        let (past, over) = comma(data, at, b'}')?;
        // SAFETY: only compares.
        let is_none = value.as_ptr() == unsafe { ffi::Py_None() };
        if keep && found == next && (is_none || !own.kind.holds_others()) {
            parts.repeats.keep(py, own.number, &data[begin..past], &value);
        }
        read.put(found, value);
        if over {
            return Some(past);
        }
        (at, next, first) = (past, found + 1, false);
    }
}

/// Where the next of several goes on, or where `close` has ended them, and whether it has.
#[inline(always)]
fn comma(data: &[u8], mut at: usize, close: u8) -> Option<(usize, bool)> {
    if data.get(at) != Some(&b',') {
        at += json::blanks(&data[at..]);
        let found = *data.get(at)?;
        if found == close {
            return Some((at + 1, true));
        }
        if found != b',' {
            return None;
        }
    }
    Some((at + 1, false))
}

/// A key that is not the one that comes next, up to and with its colon.
#[cold]
fn key_at(fields: &[Field], data: &[u8], next: usize) -> Option<(usize, usize)> {
    let count = fields.len();
    let found = (0..count).map(|step| (next + step) % count).find(|&at| {
        let key = &fields[at].key;
        data.starts_with(&key[..key.len() - 1])
    })?;
    let mut at = fields[found].key.len() - 1;
    at += json::blanks(&data[at..]);
    if data.get(at) == Some(&b':') { Some((found, at + 1)) } else { None }
}

#[inline(always)]
fn item(py: Python<'_>, parts: &Parts, item: &Item, data: &[u8]) -> Option<(Owned, usize)> {
    if item.nullable && data.starts_with(b"null") {
        // SAFETY: None is alive.
        return Some((unsafe { Owned::of(ffi::Py_None()) }, 4));
    }
    match &item.kind {
        Kind::Text(rule) => text(py, parts, rule, item.number, data),
        Kind::Float { above, least } => {
            let (value, size) = json::float(data)?;
            if above.is_some_and(|bound| value <= bound) || least.is_some_and(|bound| value < bound) {
                return None;
            }
            // SAFETY: makes a new object.
            Some((unsafe { Owned::new(ffi::PyFloat_FromDouble(value)) }?, size))
        }
        Kind::Integer { least } => {
            let (value, size) = json::integer(data)?;
            if least.is_some_and(|bound| value < bound) {
                return None;
            }
            // SAFETY: makes a new object.
            Some((unsafe { Owned::new(ffi::PyLong_FromLongLong(value)) }?, size))
        }
        Kind::Boolean => {
            let (value, size) = json::boolean(data)?;
            // SAFETY: True and False are alive.
            Some((unsafe { Owned::of(if value { ffi::Py_True() } else { ffi::Py_False() }) }, size))
        }
        Kind::Instant => parts.instants.get(py, data),
        Kind::Decimal(bounds) => decimal(py, parts, bounds, item.number, data),
        Kind::Enum { members, .. } => {
            let rest = data.strip_prefix(b"\"")?;
            for (text, member) in members {
                if rest.starts_with(text) && rest.get(text.len()) == Some(&b'"') {
                    // SAFETY: members live as long as their class.
                    return Some((unsafe { Owned::of(member.as_ptr()) }, text.len() + 2));
                }
            }
            None
        }
        Kind::Bytes => {
            let (bytes, size) = base64::read(data)?;
            Some((object::bytes(&bytes)?, size))
        }
        Kind::Tuple { items, least } => tuple(py, parts, items, *least, data),
        Kind::Dict { key, value } => dict(py, parts, item.number, key, value, data),
        Kind::Model(shape) => object(py, parts, shape, data),
    }
}

#[inline(always)]
fn text(py: Python<'_>, parts: &Parts, rule: &Text, number: usize, data: &[u8]) -> Option<(Owned, usize)> {
    let (text, size) = match json::text(data, rule.class) {
        Some(found) => found,
        None => return escaped(rule, data),
    };
    if text.length < rule.least || text.length > rule.most || (rule.interval && !json::is_interval(text.bytes)) {
        return None;
    }
    let made = if text.ascii { parts.strings.get(py, number, text.bytes)? } else { object::utf8_str(text.bytes)? };
    Some((made, size))
}

/// Text with quotes, line ends and the like in it; where a pattern holds, pydantic reads it.
#[cold]
fn escaped(rule: &Text, data: &[u8]) -> Option<(Owned, usize)> {
    if rule.class != class::TEXT {
        return None;
    }
    let (text, size) = escapes::read(data)?;
    let length = text.chars().count();
    if length < rule.least || length > rule.most {
        return None;
    }
    Some((object::utf8_str(text.as_bytes())?, size))
}

#[inline(always)]
fn decimal(py: Python<'_>, parts: &Parts, bounds: &Bounds, number: usize, data: &[u8]) -> Option<(Owned, usize)> {
    let (value, size) = json::decimal(data)?;
    let bounded = bounds.above_zero || bounds.not_negative || bounds.most.is_some();
    if (value.negative && bounded) || (value.zero && bounds.above_zero) {
        return None;
    }
    if value.text == b"0" {
        // SAFETY: alive as long as the plan.
        return Some((unsafe { Owned::of(bounds.zero.as_ptr()) }, size));
    }
    let made = parts.decimals.get(py, number, value.text)?;
    if let Some(most) = &bounds.most {
        // SAFETY: both are alive.
        if unsafe { ffi::PyObject_RichCompareBool(made.as_ptr(), most.as_ptr(), ffi::Py_LE) } != 1 {
            return None;
        }
    }
    Some((made, size))
}

fn tuple(py: Python<'_>, parts: &Parts, inner: &Item, least: usize, data: &[u8]) -> Option<(Owned, usize)> {
    let mut found = Vec::new();
    let mut at = opened(data, b'[')?;
    if data.get(at) == Some(&b']') {
        at += 1;
    } else {
        loop {
            at += json::blanks(&data[at..]);
            let (value, size) = item(py, parts, inner, &data[at..])?;
            found.push(value);
            let (past, over) = comma(data, at + size, b']')?;
            at = past;
            if over {
                break;
            }
        }
    }
    if found.len() < least {
        return None;
    }
    // SAFETY: a new tuple with room for so many, which takes the references over.
    unsafe {
        let made = Owned::new(ffi::PyTuple_New(found.len() as isize))?;
        for (at, value) in found.into_iter().enumerate() {
            ffi::PyTuple_SET_ITEM(made.as_ptr(), at as isize, value.into_ptr());
        }
        Some((made, at))
    }
}

fn dict(
    py: Python<'_>,
    parts: &Parts,
    number: usize,
    rule: &Text,
    inner: &Item,
    data: &[u8],
) -> Option<(Owned, usize)> {
    // SAFETY: a new dict of our own; keys are strings.
    unsafe {
        let made = Owned::new(ffi::PyDict_New())?;
        let mut at = opened(data, b'{')?;
        if data.get(at) == Some(&b'}') {
            return Some((made, at + 1));
        }
        for count in 1.. {
            at += json::blanks(&data[at..]);
            let (key, size) = text(py, parts, rule, number, &data[at..])?;
            at += size;
            at += json::blanks(&data[at..]);
            if data.get(at) != Some(&b':') {
                return None;
            }
            at += 1;
            at += json::blanks(&data[at..]);
            let (value, size) = item(py, parts, inner, &data[at..])?;
            if ffi::PyDict_SetItem(made.as_ptr(), key.as_ptr(), value.as_ptr()) != 0
                || ffi::PyDict_Size(made.as_ptr()) != count
            {
                return None; // a key twice
            }
            let (past, over) = comma(data, at + size, b'}')?;
            at = past;
            if over {
                break;
            }
        }
        Some((made, at))
    }
}

/// Where the first of several begins, or their end.
fn opened(data: &[u8], open: u8) -> Option<usize> {
    if data.first() != Some(&open) {
        return None;
    }
    Some(1 + json::blanks(&data[1..]))
}

/// Whether the validator of the whole model is known to pass these values.
#[inline(always)]
fn passes(shape: &Shape, after: &After, read: &Values) -> bool {
    after.passes.iter().any(|case| {
        case.iter().all(|(at, wanted)| {
            let value = if read.set >> at & 1 != 0 { read.values[*at] } else { shape.fields[*at].default.as_ptr() };
            if wanted.is_empty() {
                // SAFETY: only compares.
                return value != unsafe { ffi::Py_None() };
            }
            wanted.iter().any(|each| each.as_ptr() == value)
        })
    })
}

/// What the validator of the whole model makes of it; when it raises, pydantic says so in its words.
fn checked(made: &Owned, after: &Py<PyAny>) -> Option<Owned> {
    // SAFETY: both are alive.
    unsafe {
        let found = Owned::new(ffi::PyObject_CallOneArg(after.as_ptr(), made.as_ptr()));
        if found.is_none() && ffi::PyErr_ExceptionMatches(ffi::PyExc_Exception) != 0 {
            ffi::PyErr_Clear(); // what else is raised, a cancellation or an interrupt, stays set
        }
        found
    }
}

/// The instance with these values, as pydantic makes it.
#[inline(always)]
fn instance(py: Python<'_>, shape: &Shape, read: &Values) -> Option<Owned> {
    // SAFETY: the dict is new and ours; names are strings; values are alive in `read` until it is dropped, and the dict
    // takes references of its own. The slots are those of the model's base class.
    unsafe {
        let dict = shape.dicts.get(py, &shape.fields, read.set, &read.values)?;
        if shape.fresh & !read.set != 0 {
            freshen(shape, read.set, &dict)?;
        }
        let given = given(py, shape, read.set)?;
        let made = object::allocate(shape.model.as_ptr().cast())?;
        shape.fields_set.fill(made.as_ptr(), given.into_ptr());
        shape.extra.fill(made.as_ptr(), Owned::of(ffi::Py_None()).into_ptr());
        shape.private.fill(made.as_ptr(), Owned::of(ffi::Py_None()).into_ptr());
        if ffi::PyObject_GenericSetDict(made.as_ptr(), dict.as_ptr(), ptr::null_mut()) != 0 {
            return None;
        }
        Some(made)
    }
}

/// Give the fields that were left out, and hold a dict, one of their own.
#[cold]
unsafe fn freshen(shape: &Shape, set: u64, dict: &Owned) -> Option<()> {
    for (at, field) in shape.fields.iter().enumerate() {
        if field.fresh && set >> at & 1 == 0 {
            // SAFETY: a new dict; names are strings.
            unsafe {
                let own = Owned::new(ffi::PyDict_New())?;
                if ffi::PyDict_SetItem(dict.as_ptr(), field.name.as_ptr(), own.as_ptr()) != 0 {
                    return None;
                }
            }
        }
    }
    Some(())
}

/// What stands for a new set of the names of these fields.
#[inline(always)]
fn given(py: Python<'_>, shape: &Shape, mask: u64) -> Option<Owned> {
    shape
        .sets
        .with(py, |sets| {
            let (last, given) = &sets.last;
            // SAFETY: a reference of our own to what is alive.
            (*last == mask).then(|| unsafe { Owned::of(given.as_ptr()) })
        })
        .or_else(|| given_anew(py, shape, mask))
}

#[cold]
fn given_anew(py: Python<'_>, shape: &Shape, mask: u64) -> Option<Owned> {
    let known = shape.sets.with(py, |sets| sets.known.get(&mask).map(|given| given.clone_ref(py)));
    let made = match known {
        Some(known) => known,
        // SAFETY: a new set; names are strings.
        None => unsafe {
            let names = Owned::new(ffi::PySet_New(ptr::null_mut()))?;
            for (at, field) in shape.fields.iter().enumerate() {
                if mask >> at & 1 != 0 && ffi::PySet_Add(names.as_ptr(), field.name.as_ptr()) != 0 {
                    return None;
                }
            }
            Bound::from_owned_ptr(py, super::given::of(names)?.into_ptr()).unbind()
        },
    };
    let old = shape.sets.with(py, |sets| {
        if sets.known.len() < SETS {
            sets.known.insert(mask, made.clone_ref(py));
        }
        std::mem::replace(&mut sets.last, (mask, made.clone_ref(py)))
    });
    drop(old);
    // SAFETY: alive.
    Some(unsafe { Owned::of(made.as_ptr()) })
}
