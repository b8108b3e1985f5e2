//! What a plan knows of a model: its fields, and what each of them holds.

use super::dicts::Dicts;
use super::given;
use crate::cell::Locked;
use crate::object::{self, Owned, Slot};
use mts1b_wire_bytes::class;
use mts1b_wire_bytes::short::Short;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString, PyTuple, PyType};
use std::cell::Cell;
use std::collections::HashMap;

pub const MOST_FIELDS: usize = 64;

/// What a string must be.
pub struct Text {
    pub class: u8,
    pub interval: bool,
    pub least: usize,
    pub most: usize,
}

/// What a value is, beside null.
pub enum Kind {
    Text(Text),
    Float {
        above: Option<f64>,
        least: Option<f64>,
    },
    Integer {
        least: Option<i64>,
    },
    Boolean,
    Instant,
    Decimal(Bounds),
    Enum {
        class: Py<PyType>,
        members: Vec<(Vec<u8>, Py<PyAny>)>,
    },
    /// Bytes, as base64.
    Bytes,
    /// A tuple of so many of these, or more.
    Tuple {
        items: Box<Item>,
        least: usize,
    },
    /// A dict from text to these.
    Dict {
        key: Text,
        value: Box<Item>,
    },
    Model(Box<Shape>),
}

impl Kind {
    /// Whether a value holds others.
    pub fn holds_others(&self) -> bool {
        matches!(self, Self::Tuple { .. } | Self::Dict { .. } | Self::Model(_))
    }

    /// Whether instances may hold the same object, which refers to nothing else.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Boolean | Self::Instant | Self::Decimal(_) | Self::Enum { .. })
    }
}

pub struct Bounds {
    pub above_zero: bool,
    pub not_negative: bool,
    pub most: Option<Py<PyAny>>,
    /// What `0` is: the field's default where that is written so, so that it need not be set.
    pub zero: Py<PyAny>,
}

/// One value, wherever it stands.
pub struct Item {
    pub kind: Kind,
    pub nullable: bool,
    /// Which of the plan's values it is; strings are remembered by it.
    pub number: usize,
}

pub struct Field {
    pub name: Py<PyString>,
    /// `"name":`, and `"name"` without the last byte.
    pub key: Vec<u8>,
    /// The same behind a comma.
    pub written: Short,
    pub item: Item,
    /// What it holds when it is left out; None where the field must be there.
    pub default: Py<PyAny>,
    /// Whether each instance gets a dict of its own where the field is left out.
    pub fresh: bool,
}

/// What validates a model as a whole, and when it is known to pass.
pub struct After {
    pub validator: Py<PyAny>,
    /// By case the places of fields, and the objects of which each holds one; none of them for everything but None.
    pub passes: Vec<Vec<(usize, Vec<Py<PyAny>>)>>,
}

impl FromPyObject<'_, '_> for After {
    type Error = PyErr;

    fn extract(of: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let (validator, passes) = of.extract()?;
        Ok(Self { validator, passes })
    }
}

/// A model as a table of fields.
pub struct Shape {
    pub model: Py<PyType>,
    pub fields: Vec<Field>,
    pub required: u64,
    pub fresh: u64,
    pub dicts: Dicts,
    pub fields_set: Slot,
    pub extra: Slot,
    pub private: Slot,
    pub after: Option<After>,
    pub sets: Locked<Sets>,
}

/// What stands for sets of names (see `given.rs`), by which fields were given: a bit for each.
pub struct Sets {
    pub last: (u64, Py<PyAny>),
    pub known: HashMap<u64, Py<PyAny>>,
}

/// What is made once for all shapes of a plan.
pub struct Making<'a, 'py> {
    pub slots: &'a [Bound<'py, PyAny>; 3],
    pub zero: &'a Py<PyAny>,
    /// How many values there are so far.
    pub values: Cell<usize>,
}

fn option<'py, T: for<'a> FromPyObject<'a, 'py>>(of: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>> {
    match of.get_item(name)? {
        Some(value) if !value.is_none() => Ok(Some(value.extract::<T>().map_err(Into::into)?)),
        _ => Ok(None),
    }
}

fn needed<'py, T: for<'a> FromPyObject<'a, 'py>>(of: &Bound<'py, PyDict>, name: &str) -> PyResult<T> {
    option(of, name)?.ok_or_else(|| PyTypeError::new_err(format!("no {name}")))
}

fn text_of(of: &Bound<'_, PyDict>) -> PyResult<Text> {
    let (class, interval) = match option::<String>(of, "characters")?.as_deref() {
        None => (class::TEXT, false),
        Some("identifier") => (class::IDENTIFIER, false),
        Some("symbol") => (class::SYMBOL, false),
        Some("interval") => (class::IDENTIFIER, true),
        Some(other) => return Err(PyValueError::new_err(format!("characters {other}"))),
    };
    Ok(Text {
        class,
        interval,
        least: option(of, "min_length")?.unwrap_or(0),
        most: option(of, "max_length")?.unwrap_or(usize::MAX),
    })
}

impl Item {
    /// `of` is a kind, its options, and whether it may be null.
    fn new(of: &Bound<'_, PyTuple>, default: Option<&Bound<'_, PyAny>>, making: &Making<'_, '_>) -> PyResult<Self> {
        let (name, options, nullable): (String, Bound<'_, PyDict>, bool) = of.extract()?;
        let inner = |key: &str| -> PyResult<Box<Self>> {
            Ok(Box::new(Self::new(&needed::<Bound<'_, PyTuple>>(&options, key)?, None, making)?))
        };
        let kind = match name.as_str() {
            "text" => Kind::Text(text_of(&options)?),
            "float" => Kind::Float { above: option(&options, "gt")?, least: option(&options, "ge")? },
            "int" => Kind::Integer { least: option(&options, "ge")? },
            "bool" => Kind::Boolean,
            "datetime" => Kind::Instant,
            "bytes" => Kind::Bytes,
            "tuple" => Kind::Tuple { items: inner("items")?, least: option(&options, "min_length")?.unwrap_or(0) },
            "dict" => Kind::Dict { key: text_of(&needed(&options, "keys")?)?, value: inner("values")? },
            "model" => Kind::Model(Box::new(Shape::new(
                &needed(&options, "cls")?,
                needed(&options, "fields")?,
                option(&options, "after")?,
                making,
            )?)),
            "decimal" => Kind::Decimal(Bounds {
                above_zero: option(&options, "above_zero")?.unwrap_or(false),
                not_negative: option(&options, "not_negative")?.unwrap_or(false),
                most: option(&options, "le")?,
                zero: match default {
                    Some(default) if !default.is_none() && default.str()?.to_str()? == "0" => default.clone().unbind(),
                    _ => making.zero.clone_ref(of.py()),
                },
            }),
            "enum" => enum_of(&options)?,
            other => return Err(PyValueError::new_err(format!("no kind of value: {other}"))),
        };
        let number = making.values.replace(making.values.get() + 1);
        Ok(Self { kind, nullable, number })
    }
}

fn enum_of(of: &Bound<'_, PyDict>) -> PyResult<Kind> {
    let mut members = Vec::new();
    for member in needed::<Vec<Py<PyAny>>>(of, "members")? {
        let text: String = member.bind(of.py()).extract()?;
        if class::run(text.as_bytes(), class::TEXT) != text.len() {
            return Err(PyValueError::new_err(format!("{text:?} is written with an escape")));
        }
        members.push((text.into_bytes(), member));
    }
    Ok(Kind::Enum { class: needed(of, "cls")?, members })
}

impl Shape {
    /// `fields`: name, kind, its options, whether it may be null, whether it must be there, its default.
    pub fn new(
        model: &Bound<'_, PyType>,
        fields: Vec<Bound<'_, PyTuple>>,
        after: Option<After>,
        making: &Making<'_, '_>,
    ) -> PyResult<Self> {
        let py = model.py();
        if fields.len() > MOST_FIELDS {
            return Err(PyValueError::new_err(format!("{} fields, and {MOST_FIELDS} are the most", fields.len())));
        }
        let template = PyDict::new(py);
        let mut made = Vec::new();
        let (mut required, mut fresh) = (0u64, 0u64);
        for (at, field) in fields.iter().enumerate() {
            let name = field.get_item(0)?.extract::<String>()?;
            let default = field.get_item(5)?;
            if class::run(name.as_bytes(), class::IDENTIFIER) != name.len() {
                return Err(PyValueError::new_err(format!("a field named {name}")));
            }
            let key = format!("\"{name}\":").into_bytes();
            let name = PyString::intern(py, &name);
            template.set_item(&name, &default)?;
            let its_own = default.cast::<PyDict>().is_ok();
            fresh |= u64::from(its_own) << at;
            required |= u64::from(field.get_item(4)?.is_truthy()?) << at;
            let item = Item::new(&field.get_slice(1, 4), Some(&default), making)?;
            let written = Short::new(format!(",\"{}\":", name.to_str()?).as_bytes());
            made.push(Field { key, written, item, fresh: its_own, default: default.unbind(), name: name.unbind() });
        }
        let [fields_set, extra, private] = making.slots;
        let (extra, private) = (Slot::new(model, extra)?, Slot::new(model, private)?);
        let fields_set = given::serve(model, fields_set)?;
        let none = PySet::empty(py)?.into_any().into_ptr();
        // SAFETY: a reference of our own.
        let none = unsafe { Owned::new(none).and_then(given::of) }.ok_or_else(|| object::raised(py))?;
        // SAFETY: as above.
        let none = unsafe { Bound::from_owned_ptr(py, none.into_ptr()) }.unbind();
        if after.iter().flat_map(|after| after.passes.iter().flatten()).any(|(at, _)| *at >= made.len()) {
            return Err(PyValueError::new_err("a case of a field that there is not"));
        }
        Ok(Self {
            fields_set,
            extra,
            private,
            model: model.clone().unbind(),
            dicts: Dicts::new(py, template.unbind(), &made),
            fields: made,
            required,
            fresh,
            after,
            sets: Locked::new(Sets { last: (0, none), known: HashMap::new() }),
        })
    }
}
