//! Publishing best-effort events: from the event to its bytes in the buffer, in one go.

use crate::attribute::Attribute;
use crate::cell::Locked;
use crate::object::{self, Object};
use crate::outbound::OutBuffer;
use crate::plan::Plan;
use crate::template::{TemplateSlots, Templates, plain_id};
use mts1b_wire_bytes::frames;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

/// Publishes best-effort events of one subject.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Sender {
    pure: Py<PyAny>,
    trace_id_for: Py<PyAny>,
    buffer: Py<OutBuffer>,
    plan: Py<Plan>,
    templates: Templates,
    slots: TemplateSlots,
    keyed: bool,
    denials: Py<PyAny>,
    recent: Attribute,
    published: Py<PyDict>,
    pattern: Py<PyString>,
    scratch: Locked<Vec<u8>>,
}

#[pymethods]
impl Sender {
    /// `pure` is called for what is not common; `templates` are the encoder's, by the values of the fields `names`.
    #[new]
    #[allow(clippy::too_many_arguments)] // one call, in Python, by name
    #[pyo3(signature = (*, pure, trace_id_for, buffer, plan, templates, template, names, denials, published, pattern))]
    fn new(
        pure: Py<PyAny>,
        trace_id_for: Py<PyAny>,
        buffer: Py<OutBuffer>,
        plan: Py<Plan>,
        templates: Py<PyDict>,
        template: Bound<'_, PyType>,
        names: Vec<Bound<'_, PyString>>,
        denials: Bound<'_, PyAny>,
        published: Py<PyDict>,
        pattern: Py<PyString>,
    ) -> PyResult<Self> {
        Ok(Self {
            pure,
            trace_id_for,
            buffer,
            plan,
            slots: TemplateSlots::new(&template)?,
            templates: Templates::new(templates, &template, &names)?,
            keyed: !names.is_empty(),
            recent: Attribute::of(&denials, "recent"),
            denials: denials.unbind(),
            published,
            pattern,
            scratch: Locked::new(Vec::with_capacity(4096)),
        })
    }

    /// Publish `event`; false when it was dropped and counted.
    #[pyo3(signature = (event, trace_id = None))]
    fn send_volatile<'py>(
        &self,
        py: Python<'py>,
        event: &Bound<'py, PyAny>,
        trace_id: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let trace_id = match trace_id {
            Some(given) if given.is_truthy()? => given.clone(),
            _ => self.trace_id_for.bind(py).call0()?,
        };
        if self.sent(py, event.as_ptr(), trace_id.as_ptr())? {
            return Ok(true.into_pyobject(py)?.to_owned().into_any());
        }
        self.pure.bind(py).call1((event, trace_id))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pure)?;
        visit.call(&self.buffer)?;
        visit.call(&self.denials)
    }
}

impl Sender {
    /// Whether it is in the buffer; what is not, nothing was done for.
    #[inline(always)]
    fn sent(&self, py: Python<'_>, event: Object, trace_id: Object) -> PyResult<bool> {
        let plan = self.plan.get();
        let buffer = self.buffer.get();
        // SAFETY: the event and what it holds are alive during the call; a template is kept while its bytes are read.
        unsafe {
            let Some(trace_id) = plain_id(trace_id) else { return Ok(false) };
            if ffi::Py_TYPE(event) != plan.model() || !self.keyed {
                return Ok(false);
            }
            if self.recent.is_true(py, &self.denials)? {
                return Ok(false);
            }
            let Some(template) = self.templates.find(py, event)? else { return Ok(false) };
            let Some(lead) = self.slots.lead(template.as_ptr()) else { return Ok(false) };
            let mut scratch = self.scratch.with(py, std::mem::take);
            scratch.clear();
            let written = plan.write(py, event, &mut scratch);
            let message = frames::Message { trace_id, payload: &scratch, ..frames::Message::default() };
            let size = message.size(&lead);
            let put = |data: &mut Vec<u8>| message.put(&lead, data);
            let fits = if written { buffer.put_volatile(py, lead.line.len() + 64, size, put) } else { Ok(false) };
            self.scratch.with(py, |kept| *kept = scratch);
            let fits = fits?;
            if fits && !object::count(self.published.as_ptr(), self.pattern.as_ptr(), 1) {
                return Err(object::raised(py));
            }
            Ok(fits)
        }
    }
}
