//! A payload model as a table of fields: JSON to instance, instance to JSON.
//!
//! The table is made in Python from pydantic's core schema (`codec/plan.py`), which refuses what it does not know. What
//! is read here is what pydantic would make of the same bytes; whatever fails a check, or has another form than the
//! common one, goes to pydantic's own validator, and what is written in another form to the pure encoder.

use crate::cell::Locked;
use crate::object::{self, Object, Owned, Slot};
use mts1b_wire_bytes::{class, json, numbers};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PySet, PyString, PyTuple, PyType};
use std::collections::HashMap;
use std::ptr;

const MOST_FIELDS: usize = 64;
const STRINGS: usize = 1024;
const LONGEST_STRING: usize = 64;
const SETS: usize = 1024;

/// What a field holds, beside null.
enum Kind {
    Text { class: u8, least: usize, most: usize },
    Float { above: Option<f64>, least: Option<f64> },
    Integer { least: Option<i64> },
    Boolean,
    Instant,
    Decimal(Bounds),
    Enum { class: Py<PyType>, members: Vec<(Vec<u8>, Py<PyAny>)> },
}

#[derive(Default)]
struct Bounds {
    above_zero: bool,
    not_negative: bool,
    most: Option<Py<PyAny>>,
}

struct Field {
    name: Py<PyString>,
    /// `"name":`, and `"name"` without the last byte.
    key: Vec<u8>,
    kind: Kind,
    nullable: bool,
    /// What the template has for it, so that the same need not be set; None where the field must be there.
    default: Py<PyAny>,
    /// Whether that is a decimal zero, written as `0`.
    zero_by_default: bool,
}

/// Whether remembering the strings of a field pays.
#[derive(Default, Clone, Copy)]
struct Hits {
    tries: u32,
    hits: u32,
}

struct State {
    strings: Vec<Option<Py<PyAny>>>,
    hits: Vec<Hits>,
    sets: HashMap<u64, Py<PySet>>,
    scratch: Vec<u8>,
    decoded: u64,
    left: u64,
    changed: bool,
}

/// Values by field, given back when reading ends early.
struct Values {
    set: u64,
    values: [Object; MOST_FIELDS],
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

/// A model of plain fields, read and written without pydantic where it is sure to be what pydantic does.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Plan {
    model: Py<PyType>,
    validator: Py<PyAny>,
    validator_name: Py<PyString>,
    fields: Vec<Field>,
    required: u64,
    template: Py<PyDict>,
    fields_set: Slot,
    extra: Slot,
    private: Slot,
    after: Option<Py<PyAny>>,
    utc: Py<PyAny>,
    /// What reads and writes whatever is not taken here, and what is told once that the model has changed.
    pure_decode: Py<PyAny>,
    pure_encode: Py<PyAny>,
    on_change: Py<PyAny>,
    decimal: Py<PyAny>,
    zero: Py<PyAny>,
    state: Locked<State>,
}

fn option<'py, T: for<'a> FromPyObject<'a, 'py>>(of: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>> {
    match of.get_item(name)? {
        Some(value) if !value.is_none() => Ok(Some(value.extract::<T>().map_err(Into::into)?)),
        _ => Ok(None),
    }
}

fn kind_of(name: &str, of: &Bound<'_, PyDict>) -> PyResult<Kind> {
    Ok(match name {
        "text" => {
            let class = match option::<String>(of, "characters")?.as_deref() {
                None => class::TEXT,
                Some("identifier") => class::IDENTIFIER,
                Some("symbol") => class::SYMBOL,
                Some(other) => return Err(PyValueError::new_err(format!("characters {other}"))),
            };
            Kind::Text {
                class,
                least: option(of, "min_length")?.unwrap_or(0),
                most: option(of, "max_length")?.unwrap_or(usize::MAX),
            }
        }
        "float" => Kind::Float { above: option(of, "gt")?, least: option(of, "ge")? },
        "int" => Kind::Integer { least: option(of, "ge")? },
        "bool" => Kind::Boolean,
        "datetime" => Kind::Instant,
        "decimal" => Kind::Decimal(Bounds {
            above_zero: option(of, "above_zero")?.unwrap_or(false),
            not_negative: option(of, "not_negative")?.unwrap_or(false),
            most: option(of, "le")?,
        }),
        "enum" => {
            let class: Py<PyType> = option(of, "cls")?.ok_or_else(|| PyTypeError::new_err("cls"))?;
            let mut members = Vec::new();
            for member in option::<Vec<Py<PyAny>>>(of, "members")?.unwrap_or_default() {
                let text: String = member.bind(of.py()).extract()?;
                if class::run(text.as_bytes(), class::TEXT) != text.len() {
                    return Err(PyValueError::new_err(format!("{text:?} is written with an escape")));
                }
                members.push((text.into_bytes(), member));
            }
            Kind::Enum { class, members }
        }
        other => return Err(PyValueError::new_err(format!("no kind of field: {other}"))),
    })
}

#[pymethods]
impl Plan {
    /// `fields`: name, kind, its options, whether it may be null, whether it must be there, its default.
    #[new]
    #[pyo3(signature = (model, fields, *, slots, after, utc, decode, encode, changed))]
    #[allow(clippy::too_many_arguments)] // named by the caller
    fn new(
        py: Python<'_>,
        model: Bound<'_, PyType>,
        fields: Vec<Bound<'_, PyTuple>>,
        slots: [Bound<'_, PyAny>; 3],
        after: Option<Py<PyAny>>,
        utc: Py<PyAny>,
        decode: Py<PyAny>,
        encode: Py<PyAny>,
        changed: Py<PyAny>,
    ) -> PyResult<Self> {
        if fields.len() > MOST_FIELDS {
            return Err(PyValueError::new_err(format!("{} fields, and {MOST_FIELDS} are the most", fields.len())));
        }
        // SAFETY: only looks; the datetime API takes whatever it is given for a tzinfo.
        if !utc.is_none(py) && unsafe { ffi::PyTZInfo_Check(utc.as_ptr()) } == 0 {
            return Err(PyTypeError::new_err("utc is no tzinfo"));
        }
        let template = PyDict::new(py);
        let mut made = Vec::new();
        let (mut required, mut all) = (0u64, 0u64);
        let every = PySet::empty(py)?;
        for (at, field) in fields.iter().enumerate() {
            let (name, kind, options, nullable, needed, default): (
                String,
                String,
                Bound<'_, PyDict>,
                bool,
                bool,
                Bound<'_, PyAny>,
            ) = field.extract()?;
            let name = PyString::intern(py, &name);
            let key = format!("\"{}\":", name.to_str()?);
            if class::run(name.to_str()?.as_bytes(), class::IDENTIFIER) != name.to_str()?.len() {
                return Err(PyValueError::new_err(format!("a field named {name}")));
            }
            template.set_item(&name, &default)?;
            every.add(&name)?;
            all |= 1 << at;
            if needed {
                required |= 1 << at;
            }
            made.push(Field {
                key: key.into_bytes(),
                kind: kind_of(&kind, &options)?,
                nullable,
                zero_by_default: kind == "decimal" && !default.is_none() && default.str()?.to_str()? == "0",
                default: default.unbind(),
                name: name.unbind(),
            });
        }
        let decimal = py.import("decimal")?.getattr("Decimal")?;
        let zero = decimal.call1(("0",))?.unbind();
        let fields_set = Slot::new(&model, &slots[0])?;
        let extra = Slot::new(&model, &slots[1])?;
        let private = Slot::new(&model, &slots[2])?;
        let validator = model.getattr(intern!(py, "__pydantic_validator__"))?.unbind();
        let state = State {
            strings: std::iter::repeat_with(|| None).take(STRINGS).collect(),
            hits: vec![Hits::default(); made.len()],
            sets: HashMap::from([(all, every.unbind())]),
            scratch: Vec::with_capacity(4096),
            decoded: 0,
            left: 0,
            changed: false,
        };
        Ok(Self {
            model: model.unbind(),
            validator,
            validator_name: PyString::intern(py, "__pydantic_validator__").unbind(),
            fields: made,
            required,
            template: template.unbind(),
            fields_set,
            extra,
            private,
            after,
            utc,
            pure_decode: decode,
            pure_encode: encode,
            on_change: changed,
            decimal: decimal.unbind(),
            zero,
            state: Locked::new(state),
        })
    }

    /// The event in `data`; raises pydantic's error.
    fn decode<'py>(&self, py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            if let Some(found) = self.read(py, bytes.as_bytes())? {
                // SAFETY: an owned reference, with the GIL.
                return Ok(unsafe { Bound::from_owned_ptr(py, found.into_ptr()) });
            }
        }
        self.decode_pure(py, data)
    }

    /// `event` as JSON.
    fn encode<'py>(&self, py: Python<'py>, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut scratch = self.state.with(py, |state| std::mem::take(&mut state.scratch));
        scratch.clear();
        let written = self.write(py, event.as_ptr(), &mut scratch);
        let made = written.then(|| PyBytes::new(py, &scratch).into_any());
        self.state.with(py, |state| state.scratch = scratch);
        match made {
            Some(made) => Ok(made),
            None => self.pure_encode.bind(py).call1((event,)),
        }
    }

    /// How many payloads were decoded here, and how many were left to pydantic.
    #[getter]
    fn counts(&self, py: Python<'_>) -> (u64, u64) {
        self.state.with(py, |state| (state.decoded, state.left))
    }
}

impl Plan {
    /// The model that `data` holds; None when it is for pydantic to decide; an error that no pydantic changes.
    #[inline]
    pub fn read(&self, py: Python<'_>, data: &[u8]) -> PyResult<Option<Owned>> {
        let found = if self.unchanged() { self.read_fields(py, data) } else { None };
        let found = match (found, &self.after) {
            (Some(made), Some(after)) => self.checked(py, &made, after)?,
            (found, _) => found,
        };
        // SAFETY: only looks.
        if found.is_none() && unsafe { !ffi::PyErr_Occurred().is_null() } {
            return Err(object::raised(py)); // no memory
        }
        self.state.with(py, |state| *(if found.is_some() { &mut state.decoded } else { &mut state.left }) += 1);
        Ok(found)
    }

    /// The event in `data` as pydantic reads it.
    #[cold]
    pub fn decode_pure<'py>(&self, py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.unchanged() {
            return self.pure_decode.bind(py).call1((data,));
        }
        if !self.state.with(py, |state| std::mem::replace(&mut state.changed, true)) {
            self.on_change.call0(py)?;
        }
        let validator = self.model.bind(py).getattr(&self.validator_name)?;
        validator.call_method1(intern!(py, "validate_json"), (data,))
    }

    /// Whether the model is the one that the plan was made for.
    #[inline(always)]
    fn unchanged(&self) -> bool {
        // SAFETY: the name is a string, and the class is alive as long as this.
        let found = unsafe { object::lookup(self.model.as_ptr().cast(), self.validator_name.as_ptr()) };
        found == self.validator.as_ptr()
    }

    /// What the validator of the whole model makes of it; when it raises, pydantic says so in its words.
    fn checked(&self, py: Python<'_>, made: &Owned, after: &Py<PyAny>) -> PyResult<Option<Owned>> {
        // SAFETY: both are alive.
        unsafe {
            let found = Owned::new(ffi::PyObject_CallOneArg(after.as_ptr(), made.as_ptr()));
            if found.is_none() {
                if ffi::PyErr_ExceptionMatches(ffi::PyExc_Exception) == 0 {
                    return Err(object::raised(py)); // a cancellation, an interrupt
                }
                ffi::PyErr_Clear();
            }
            Ok(found)
        }
    }

    #[inline]
    fn read_fields(&self, py: Python<'_>, data: &[u8]) -> Option<Owned> {
        let fields = &self.fields[..];
        let mut read = Values { set: 0, values: [ptr::null_mut(); MOST_FIELDS] };
        let mut at = json::blanks(data);
        if data.get(at) != Some(&b'{') {
            return None;
        }
        at += 1;
        let mut next = 0;
        let mut first = true;
        loop {
            if !first {
                if data.get(at) != Some(&b',') {
                    at += json::blanks(&data[at..]);
                    match data.get(at)? {
                        b'}' => {
                            at += 1;
                            break;
                        }
                        b',' => (),
                        _ => return None,
                    }
                }
                at += 1;
            }
            let found = match fields.get(next) {
                Some(field) if data[at..].starts_with(&field.key) => {
                    at += field.key.len();
                    next
                }
                _ => {
                    at += json::blanks(&data[at..]);
                    if first && data.get(at) == Some(&b'}') {
                        at += 1;
                        break;
                    }
                    let (found, size) = self.key_at(&data[at..], next)?;
                    at += size;
                    found
                }
            };
            if read.set >> found & 1 != 0 {
                return None; // twice: which of them counts is pydantic's to say
            }
            at += json::blanks(&data[at..]);
            let (value, size) = self.read_value(py, found, &data[at..])?;
            at += size;
            read.values[found] = value.into_ptr();
            read.set |= 1 << found;
            next = found + 1;
            first = false;
        }
        if at + json::blanks(&data[at..]) != data.len() || self.required & !read.set != 0 {
            return None;
        }
        self.instance(py, &read)
    }

    /// A key that is not the one that comes next, up to and with its colon.
    #[cold]
    fn key_at(&self, data: &[u8], next: usize) -> Option<(usize, usize)> {
        let count = self.fields.len();
        let found = (0..count).map(|step| (next + step) % count).find(|&at| {
            let key = &self.fields[at].key;
            data.starts_with(&key[..key.len() - 1])
        })?;
        let mut at = self.fields[found].key.len() - 1;
        at += json::blanks(&data[at..]);
        if data.get(at) == Some(&b':') { Some((found, at + 1)) } else { None }
    }

    #[inline(always)]
    fn read_value(&self, py: Python<'_>, at: usize, data: &[u8]) -> Option<(Owned, usize)> {
        let field = &self.fields[at];
        if field.nullable && data.starts_with(b"null") {
            // SAFETY: None is alive.
            return Some((unsafe { Owned::of(ffi::Py_None()) }, 4));
        }
        match &field.kind {
            Kind::Text { class, least, most } => {
                let (text, size) = json::text(data, *class)?;
                if text.length < *least || text.length > *most {
                    return None;
                }
                let made = if text.ascii { self.string(py, at, text.bytes)? } else { object::utf8_str(text.bytes)? };
                Some((made, size))
            }
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
            Kind::Instant => {
                let (value, size) = json::instant(data)?;
                // SAFETY: the zone is a tzinfo, which the constructor of the plan's table was given.
                Some((unsafe { object::datetime(&value, self.utc.as_ptr()) }?, size))
            }
            Kind::Decimal(bounds) => self.read_decimal(field, bounds, data),
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
        }
    }

    #[inline(always)]
    fn read_decimal(&self, field: &Field, bounds: &Bounds, data: &[u8]) -> Option<(Owned, usize)> {
        let (value, size) = json::decimal(data)?;
        let bounded = bounds.above_zero || bounds.not_negative || bounds.most.is_some();
        if (value.negative && bounded) || (value.zero && bounds.above_zero) {
            return None;
        }
        if value.text == b"0" {
            let zero = if field.zero_by_default { &field.default } else { &self.zero };
            // SAFETY: alive as long as this.
            return Some((unsafe { Owned::of(zero.as_ptr()) }, size));
        }
        // SAFETY: digits are ASCII; the objects are alive.
        unsafe {
            let text = object::ascii_str(value.text)?;
            let made = Owned::new(ffi::PyObject_CallOneArg(self.decimal.as_ptr(), text.as_ptr()))?;
            if let Some(most) = &bounds.most {
                if ffi::PyObject_RichCompareBool(made.as_ptr(), most.as_ptr(), ffi::Py_LE) != 1 {
                    return None;
                }
            }
            Some((made, size))
        }
    }

    /// A string that may have been made before: symbols, accounts and sessions repeat.
    #[inline(always)]
    fn string(&self, py: Python<'_>, field: usize, text: &[u8]) -> Option<Owned> {
        if text.len() > LONGEST_STRING || text.is_empty() {
            // SAFETY: found to be ASCII.
            return unsafe { object::ascii_str(text) };
        }
        let slot = hash(text) % STRINGS;
        let found = self.state.with(py, |state| {
            let hits = &mut state.hits[field];
            if hits.tries >= 256 && hits.hits * 4 < hits.tries {
                return Err(false);
            }
            if hits.tries >= 1 << 30 {
                hits.tries /= 2;
                hits.hits /= 2;
            }
            hits.tries += 1;
            if let Some(known) = &state.strings[slot] {
                // SAFETY: only ASCII strings are remembered, and this one is alive.
                if unsafe { object::ascii(known.as_ptr()) } == Some(text) {
                    hits.hits += 1;
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
            let old = self.state.with(py, |state| state.strings[slot].replace(kept));
            drop(old);
        }
        Some(made)
    }

    /// The instance with these values, as pydantic makes it.
    #[inline(always)]
    fn instance(&self, py: Python<'_>, read: &Values) -> Option<Owned> {
        // SAFETY: the dict is new and ours; names are strings; values are alive in `read` until it is dropped, and the
        // dict takes references of its own. The slots are those of the model's base class.
        unsafe {
            let dict = Owned::new(ffi::PyDict_Copy(self.template.as_ptr()))?;
            let mut set = read.set;
            while set != 0 {
                let at = set.trailing_zeros() as usize;
                set &= set - 1;
                let (field, value) = (&self.fields[at], read.values[at]);
                if value == field.default.as_ptr() {
                    continue; // the template has it
                }
                if ffi::PyDict_SetItem(dict.as_ptr(), field.name.as_ptr(), value) != 0 {
                    return None;
                }
            }
            let given = self.given(py, read.set)?;
            let made = object::allocate(self.model.as_ptr().cast())?;
            self.fields_set.fill(made.as_ptr(), given.into_ptr());
            self.extra.fill(made.as_ptr(), Owned::of(ffi::Py_None()).into_ptr());
            self.private.fill(made.as_ptr(), Owned::of(ffi::Py_None()).into_ptr());
            if ffi::PyObject_GenericSetDict(made.as_ptr(), dict.as_ptr(), ptr::null_mut()) != 0 {
                return None;
            }
            Some(made)
        }
    }

    /// A new set of the names of these fields.
    #[inline(always)]
    fn given(&self, py: Python<'_>, mask: u64) -> Option<Owned> {
        let like = self.state.with(py, |state| state.sets.get(&mask).map(|set| set.as_ptr()));
        // SAFETY: sets stay as long as the plan; copying one calls nothing that could come back here.
        unsafe {
            if let Some(like) = like {
                return Owned::new(ffi::PySet_New(like));
            }
            let made = Owned::new(ffi::PySet_New(ptr::null_mut()))?;
            for (at, field) in self.fields.iter().enumerate() {
                if mask >> at & 1 != 0 && ffi::PySet_Add(made.as_ptr(), field.name.as_ptr()) != 0 {
                    return None;
                }
            }
            let kept = Owned::new(ffi::PySet_New(made.as_ptr()))?;
            let kept: Py<PySet> = Bound::from_owned_ptr(py, kept.into_ptr()).cast_into_unchecked().unbind();
            self.state.with(py, |state| {
                if state.sets.len() < SETS {
                    state.sets.insert(mask, kept);
                }
            });
            Some(made)
        }
    }

    /// Append `event` as JSON; false, with whatever was appended, when it is for the pure encoder to write.
    #[inline]
    pub fn write(&self, py: Python<'_>, event: Object, out: &mut Vec<u8>) -> bool {
        // SAFETY: the event is alive, hence its dict and what it holds; nothing here calls code that could change it.
        unsafe {
            if ffi::Py_TYPE(event) != self.model.as_ptr().cast() {
                return false;
            }
            let Some(dict) = object::dict_of(event) else {
                ffi::PyErr_Clear();
                return false;
            };
            let dict = dict.as_ptr();
            if ffi::PyDict_CheckExact(dict) == 0 || ffi::PyDict_Size(dict) as usize != self.fields.len() {
                return false;
            }
            let (mut position, mut key, mut value) = (0, ptr::null_mut(), ptr::null_mut());
            out.push(b'{');
            for (at, field) in self.fields.iter().enumerate() {
                if ffi::PyDict_Next(dict, &mut position, &mut key, &mut value) == 0 {
                    return false;
                }
                if key != field.name.as_ptr() && !same_name(key, &field.key) {
                    return false;
                }
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&field.key);
                if value == ffi::Py_None() {
                    out.extend_from_slice(b"null");
                } else if !self.write_value(py, field, value, out) {
                    return false;
                }
            }
            out.push(b'}');
            true
        }
    }

    #[inline(always)]
    unsafe fn write_value(&self, py: Python<'_>, field: &Field, value: Object, out: &mut Vec<u8>) -> bool {
        let (zero_by_default, default) = (field.zero_by_default, field.default.as_ptr());
        // SAFETY: the value is alive; each branch looks at its exact type first.
        unsafe {
            match &field.kind {
                Kind::Text { .. } => {
                    if ffi::PyUnicode_CheckExact(value) == 0 {
                        return false;
                    }
                    let Some(text) = object::utf8(value) else { return false };
                    if class::run(text, class::TEXT) != text.len() {
                        return false;
                    }
                    quoted(out, text);
                    true
                }
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
                Kind::Instant => self.write_instant(value, out),
                Kind::Decimal(_) => {
                    if value == self.zero.as_ptr() || (zero_by_default && value == default) {
                        out.extend_from_slice(b"\"0\"");
                        return true;
                    }
                    if ffi::Py_TYPE(value) != self.decimal.as_ptr().cast() {
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
                    let _ = py;
                    match members.iter().find(|(_, member)| member.as_ptr() == value) {
                        Some((text, _)) => quoted(out, text),
                        None => return false,
                    }
                    true
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn write_instant(&self, value: Object, out: &mut Vec<u8>) -> bool {
        // SAFETY: an exact datetime, which has these fields; the zone is borrowed from it.
        unsafe {
            if ffi::PyDateTime_CheckExact(value) == 0 {
                return false;
            }
            let zone = ffi::PyDateTime_DATE_GET_TZINFO(value);
            if zone != ffi::PyDateTime_TimeZone_UTC() && zone != self.utc.as_ptr() {
                if ffi::Py_TYPE(zone) != ffi::Py_TYPE(self.utc.as_ptr()) {
                    return false;
                }
                match ffi::PyObject_RichCompareBool(zone, self.utc.as_ptr(), ffi::Py_EQ) {
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

    /// The class whose instances are read and written.
    pub fn model(&self) -> *mut ffi::PyTypeObject {
        self.model.as_ptr().cast()
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
