//! A feed on one partition: what is done at once for a plain batch that is new, from its numbers to its event.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::avro::encoded;
use crate::batch::Batch;
use crate::measures::{Arrival, Measures};
use crate::tally::Tally;

/// What the events of batches have in common: all of them, and those of one turn.
#[pyclass(module = "exporter.core._native")]
pub struct Events {
    /// `event(type, topic, key, body, headers, partition)`, and its first two arguments.
    event: Py<PyAny>,
    kind: Py<PyAny>,
    topic: Py<PyAny>,
    headers: Vec<Py<PyAny>>,
    text: Vec<u8>,
    now_ms: i64,
    head: Vec<u8>,
    time: Py<PyAny>,
}

#[pymethods]
impl Events {
    /// `headers` are those of all events, `text` the beginning of their bodies.
    #[new]
    fn new(
        py: Python<'_>,
        event: Py<PyAny>,
        kind: Py<PyAny>,
        topic: Py<PyAny>,
        headers: Vec<Py<PyAny>>,
        text: Vec<u8>,
    ) -> Self {
        Events { event, kind, topic, headers, text, now_ms: 0, head: Vec::new(), time: py.None() }
    }

    /// Begin a turn: its time, as Avro, and as a header.
    fn begin(&mut self, now_ms: i64, stamp: &[u8], time: Py<PyAny>) {
        self.now_ms = now_ms;
        self.head = [&self.text, stamp].concat();
        self.time = time;
    }
}

/// A feed on one partition, and its window there; `PartitionFeed` of Python.
#[pyclass(module = "exporter.core._native")]
pub struct Lane {
    #[pyo3(get)]
    feed: Py<PyAny>,
    #[pyo3(get, set)]
    window: Py<Window>,
    tally: Py<Tally>,
    events: Py<Events>,
    partition: Py<PyAny>,
    place: Vec<u8>,
    names: Vec<u8>,
    key: Py<PyAny>,
}

#[pymethods]
impl Lane {
    /// `place` is the name of the partition in `ce_id`, `names` those of the feed in Avro, `key` that of its events.
    #[new]
    fn new(
        py: Python<'_>,
        feed: (Py<PyAny>, Py<Tally>),
        events: Py<Events>,
        partition: (Py<PyAny>, Vec<u8>),
        names: Vec<u8>,
        key: Py<PyAny>,
    ) -> PyResult<Self> {
        let (feed, tally) = feed;
        let (partition, place) = partition;
        Ok(Lane { feed, window: Py::new(py, Window::default())?, tally, events, partition, place, names, key })
    }

    /// Count a batch that is new, add it to the window, and return its event.
    ///
    /// Nothing is done, and None returned, for a batch that is not plain. Without an event, and when something was
    /// found in the batch, the number of that is returned.
    fn take<'py>(
        &self,
        stats: &Bound<'py, PyAny>,
        offset: i64,
        record_ms: i64,
        traceparent: &Bound<'py, PyAny>,
        is_live: bool,
        has_event: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = stats.py();
        let Ok(batch) = stats.cast::<Batch>() else { return Ok(None) };
        let text = batch.get().value.bind(py).as_bytes();
        let measures = Measures::of_native(batch.get(), py);
        let arrival = Arrival { record_ms, received_ms: self.events.try_borrow(py)?.now_ms, is_live, is_replay: false };
        let Some(found) = self.tally.try_borrow_mut(py)?.take(batch.get(), text, &measures, arrival) else {
            return Ok(None);
        };
        self.window.try_borrow_mut(py)?.count(measures.size, measures.unique);
        if found > 0 || !has_event {
            return Ok(Some(found.into_pyobject(py)?.into_any()));
        }
        self.make(batch.get(), offset, traceparent).map(Some)
    }

    /// Return the event of a batch.
    fn event<'py>(
        &self,
        stats: &Bound<'py, Batch>,
        offset: i64,
        traceparent: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.make(stats.get(), offset, traceparent)
    }
}

impl Lane {
    fn make<'py>(&self, batch: &Batch, offset: i64, traceparent: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = traceparent.py();
        let (event, arguments) = {
            let events = self.events.try_borrow(py)?;
            let unique = batch.content.unique();
            let efficiency = if unique == 0 { 0.0 } else { 1.0 / unique as f64 };
            let numbers = (batch.content.rows.len() as i64, unique as i64, efficiency, batch.timestamp_ms);
            let body = PyBytes::new(py, &encoded(&events.head, &self.names, numbers));
            let headers = self.headers(&events, offset, traceparent)?;
            let (kind, topic) = (events.kind.bind(py), events.topic.bind(py));
            (events.event.clone_ref(py), (kind, topic, &self.key, body, headers, &self.partition).into_pyobject(py)?)
        };
        event.bind(py).call1(arguments)
    }

    fn headers<'py>(
        &self,
        events: &Events,
        offset: i64,
        traceparent: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = traceparent.py();
        let identity = [&*self.place, offset.to_string().as_bytes()].concat();
        let identity = PyTuple::new(py, [intern!(py, "ce_id").as_any(), PyBytes::new(py, &identity).as_any()])?;
        let common = events.headers.iter().map(|header| header.bind(py));
        let headers = PyList::new(py, common.chain([identity.as_any(), events.time.bind(py)]))?;
        if !traceparent.is_none() {
            headers.append((intern!(py, "traceparent"), traceparent))?;
        }
        Ok(headers)
    }
}

/// Sums of the batches of one feed on one partition since its last summary.
#[pyclass(module = "exporter.core._native")]
#[derive(Default)]
pub struct Window {
    #[pyo3(get)]
    batches: u64,
    #[pyo3(get)]
    messages: u64,
    #[pyo3(get)]
    unique_sum: u64,
    #[pyo3(get)]
    efficiency_sum: f64,
}

#[pymethods]
impl Window {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Add one batch.
    fn add(&mut self, stats: &Bound<'_, PyAny>) -> PyResult<()> {
        let result = stats.getattr(intern!(stats.py(), "result"))?;
        self.count(result.get_item(0)?.extract()?, result.get_item(1)?.extract()?);
        Ok(())
    }
}

impl Window {
    fn count(&mut self, size: usize, unique: usize) {
        self.batches += 1;
        self.messages += size as u64;
        self.unique_sum += unique as u64;
        self.efficiency_sum += if unique == 0 { 0.0 } else { 1.0 / unique as f64 };
    }
}
