//! A batch: what is known of its rows, and what the analysis asks of them.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySet, PySlice, PyString, PyTuple};

use crate::scan::Span;
use crate::{MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS};

/// Levels of an order book, in the order of their fields in a message.
pub const LEVELS: [&[u8]; 3] = [b"asks", b"bids", b"units"];

/// How long the name of a symbol usually is, at most.
const EXPECTED_NAME: usize = 12;

/// One message. Prices that it does not have are NaN, which none of them can be.
#[derive(Clone)]
pub struct Row {
    pub symbol: u32,
    /// Unix milliseconds; 0 without one.
    pub stamp: f64,
    pub has_null_stamp: bool,
    pub last: f64,
    pub high: f64,
    pub low: f64,
    pub price: f64,
    /// Where its levels are among those of the batch, if it has any.
    pub levels: Option<u32>,
}

impl Row {
    pub fn new() -> Self {
        let none = f64::NAN;
        Row {
            symbol: 0,
            stamp: 0.0,
            has_null_stamp: false,
            last: none,
            high: none,
            low: none,
            price: none,
            levels: None,
        }
    }

    pub fn is_stamped(&self) -> bool {
        (MIN_TIMESTAMP_MS as f64..=MAX_TIMESTAMP_MS as f64).contains(&self.stamp)
    }
}

/// The rows of a batch, whatever decoded it.
pub struct Rows {
    pub rows: Vec<Row>,
    pub names: Vec<Py<PyString>>,
    /// The names one after another, and where each ends: so they need no look at Python's objects.
    text: String,
    ends: Vec<u32>,
    pub levels: Vec<[Option<Span>; 3]>,
}

impl Rows {
    /// Room for rows, of which there may be more.
    pub fn new(expected: usize) -> Self {
        Rows {
            rows: Vec::with_capacity(expected),
            names: Vec::with_capacity(expected),
            text: String::with_capacity(expected * EXPECTED_NAME),
            ends: Vec::with_capacity(expected),
            levels: Vec::new(),
        }
    }

    /// Add a symbol that no row before had, and return its place.
    pub fn add(&mut self, text: &str) -> u32 {
        let place = self.ends.len() as u32;
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
        place
    }

    /// The text of each symbol.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = self.text.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            text
        })
    }

    /// Return which rows are order books, the last of each symbol, in the order of the first.
    pub fn books(&self) -> Vec<u32> {
        let mut books = LastOfEach::default();
        if !self.levels.is_empty() {
            for (index, row) in self.rows.iter().enumerate() {
                if row.levels.is_some() && row.last.is_nan() && row.price.is_nan() {
                    books.add(row.symbol as usize, index as u32);
                }
            }
        }
        books.rows
    }

    /// Return the text of the symbol of a row.
    pub fn symbol(&self, row: &Row) -> &str {
        let place = row.symbol as usize;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(place).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The number of different symbols.
    pub fn unique(&self) -> usize {
        self.ends.len()
    }

    pub fn has_trades(&self) -> bool {
        match self.rows.first() {
            None => false,
            Some(first) if !first.price.is_nan() => true,
            Some(first) => first.last.is_nan() && self.rows.iter().any(|row| !row.price.is_nan()),
        }
    }
}

/// The last row of each symbol, in the order of the first.
#[derive(Default)]
struct LastOfEach {
    rows: Vec<u32>,
    places: Vec<Option<usize>>,
}

impl LastOfEach {
    fn add(&mut self, symbol: usize, row: u32) {
        if self.places.len() <= symbol {
            self.places.resize(symbol + 1, None);
        }
        let Some(place) = self.places.get_mut(symbol) else { return };
        match place.and_then(|place| self.rows.get_mut(place)) {
            Some(last) => *last = row,
            None => {
                *place = Some(self.rows.len());
                self.rows.push(row);
            }
        }
    }
}

/// A decoded record with its statistics: `Batch` and `BatchStats` of Python in one.
#[pyclass(frozen, module = "exporter.core._native")]
pub struct Batch {
    pub content: Rows,
    pub key: Py<PyTuple>,
    pub timestamp_ms: i64,
    pub declared: Option<i64>,
    /// The plausible stamps, oldest first.
    pub sorted: Vec<i64>,
    pub implausible: usize,
    pub value: Py<PyBytes>,
    pub make: Py<Factories>,
    /// What Python notes of the order books among the rows.
    pub books: Mutex<Option<Py<PyAny>>>,
}

/// What makes Python's objects of the values of a batch.
#[pyclass(frozen, module = "exporter.core._native")]
pub struct Factories {
    pub key: Py<PyAny>,
    pub result: Py<PyAny>,
    pub message: Py<PyAny>,
}

#[pymethods]
impl Factories {
    /// `key(region, exchange, request_type)`, `result(size, unique, efficiency, timestamp_ms)` and
    /// `message(symbol, timestamp, last, high, low, price, asks, bids, units)`.
    #[new]
    fn new(key: Py<PyAny>, result: Py<PyAny>, message: Py<PyAny>) -> Self {
        Factories { key, result, message }
    }
}

impl Batch {
    fn unique(&self) -> usize {
        self.content.unique()
    }

    fn number(value: f64) -> Option<f64> {
        if value.is_nan() { None } else { Some(value) }
    }

    pub fn message<'py>(&self, py: Python<'py>, row: &Row) -> PyResult<Bound<'py, PyAny>> {
        let name = self.content.names.get(row.symbol as usize).map(|name| name.clone_ref(py));
        let stamp = if row.has_null_stamp { None } else { Some(row.stamp as i64) };
        let spans = row.levels.and_then(|index| self.content.levels.get(index as usize)).copied().unwrap_or_default();
        let text = self.value.bind(py).as_bytes();
        let [asks, bids, units] = spans.map(|span| {
            span.and_then(|(start, end)| text.get(start as usize..end as usize)).map(|part| PyBytes::new(py, part))
        });
        let prices = (Self::number(row.last), Self::number(row.high), Self::number(row.low), Self::number(row.price));
        let (last, high, low, price) = prices;
        self.make.get().message.bind(py).call1((name, stamp, last, high, low, price, asks, bids, units))
    }

    fn is_priced_row(&self, row: &Row, text: &[u8]) -> bool {
        if !row.last.is_nan() || !row.price.is_nan() {
            return true;
        }
        let spans = row.levels.and_then(|index| self.content.levels.get(index as usize)).copied().unwrap_or_default();
        spans.iter().flatten().any(|&(start, end)| text.get(start as usize..end as usize) != Some(b"null"))
    }
}

#[pymethods]
impl Batch {
    #[getter(batch)]
    fn itself(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[getter]
    fn books(&self, py: Python<'_>) -> Py<PyAny> {
        let noted = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        noted.as_ref().map_or_else(|| PyTuple::empty(py).into_any().unbind(), |books| books.clone_ref(py))
    }

    #[setter]
    fn set_books(&self, books: Py<PyAny>) {
        *self.books.lock().unwrap_or_else(PoisonError::into_inner) = Some(books);
    }

    #[getter]
    fn region<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.key.bind(py).get_item(0)
    }

    #[getter]
    fn exchange<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.key.bind(py).get_item(1)
    }

    #[getter]
    fn request_type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.key.bind(py).get_item(2)
    }

    #[getter]
    fn key(&self, py: Python<'_>) -> Py<PyTuple> {
        self.key.clone_ref(py)
    }

    #[getter]
    fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    #[getter]
    fn batch_size(&self) -> Option<i64> {
        self.declared
    }

    #[getter]
    fn size(&self) -> usize {
        self.content.rows.len()
    }

    #[getter]
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let unique = self.unique();
        let efficiency = if unique == 0 { 0.0 } else { 1.0 / unique as f64 };
        self.make.get().result.bind(py).call1((self.content.rows.len(), unique, efficiency, self.timestamp_ms))
    }

    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let found: PyResult<Vec<_>> = self.content.rows.iter().map(|row| self.message(py, row)).collect();
        PyList::new(py, found?)
    }

    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let names = &self.content.names;
        let found: Vec<_> = self.content.rows.iter().filter_map(|row| names.get(row.symbol as usize)).collect();
        PyList::new(py, found)
    }

    #[getter]
    fn symbols<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        PySet::new(py, &self.content.names)
    }

    #[getter]
    fn stamps<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, &self.sorted)
    }

    #[getter]
    fn stamped(&self) -> usize {
        self.sorted.len()
    }

    #[getter]
    fn newest(&self) -> i64 {
        self.sorted.last().copied().unwrap_or(0)
    }

    #[getter]
    fn stamp_sum(&self) -> i64 {
        self.sorted.iter().sum()
    }

    #[getter]
    fn implausible(&self) -> usize {
        self.implausible
    }

    #[getter]
    fn has_trades(&self) -> bool {
        self.content.has_trades()
    }

    #[getter]
    pub fn is_priced(&self, py: Python<'_>) -> bool {
        let text = self.value.bind(py).as_bytes();
        self.content.rows.iter().any(|row| self.is_priced_row(row, text))
    }

    /// Return whether all symbols are keys of the dict.
    fn is_within(&self, seen_ms: &Bound<'_, PyDict>) -> PyResult<bool> {
        for name in &self.content.names {
            if !seen_ms.contains(name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Set the time of each symbol that has no later one.
    fn mark_seen(&self, py: Python<'_>, seen_ms: &Bound<'_, PyDict>, sent_ms: i64) -> PyResult<()> {
        let time = sent_ms.into_pyobject(py)?;
        for name in &self.content.names {
            let is_later = match seen_ms.get_item(name)? {
                Some(before) => before.extract::<i64>()? > sent_ms,
                None => false,
            };
            if !is_later {
                seen_ms.set_item(name, &time)?;
            }
        }
        Ok(())
    }

    /// Count the ages of the messages by bucket of whole milliseconds; return their sum, and how many have none.
    fn count_ages(&self, sent_ms: i64, bounds_ms: Vec<i64>, buckets: &Bound<'_, PyList>) -> PyResult<(i64, usize)> {
        let (older, newer) = self.sorted.split_at(self.sorted.partition_point(|&stamp| stamp <= sent_ms));
        let mut counts = vec![0u64; bounds_ms.len() + 1];
        let mut sum = 0;
        for stamp in older {
            let age = sent_ms - stamp;
            sum += age;
            if let Some(count) = counts.get_mut(bounds_ms.partition_point(|&bound| bound < age)) {
                *count += 1;
            }
        }
        let filled = if buckets.is_empty() { 0 } else { counts.len() };
        for (index, &count) in counts.iter().enumerate().take(filled).filter(|(_, count)| **count > 0) {
            let before: u64 = buckets.get_item(index)?.extract()?;
            buckets.set_item(index, before + count)?;
        }
        Ok((sum, newer.len()))
    }

    /// Add the messages of each symbol to its count.
    fn count_messages(&self, messages: &Bound<'_, PyDict>) -> PyResult<()> {
        let mut counts = vec![0i64; self.unique()];
        for row in &self.content.rows {
            if let Some(count) = counts.get_mut(row.symbol as usize) {
                *count += 1;
            }
        }
        for (name, count) in self.content.names.iter().zip(counts) {
            let before = messages.get_item(name)?.map_or(Ok(0), |before| before.extract::<i64>())?;
            messages.set_item(name, before + count)?;
        }
        Ok(())
    }
}

/// The rows of some order books, made into messages only when they are asked for.
#[pyclass(frozen, module = "exporter.core._native")]
pub struct Books {
    pub batch: Py<Batch>,
    pub rows: Vec<u32>,
}

#[pymethods]
impl Books {
    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, places: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let slice = places.cast::<PySlice>().map_err(|_| PyTypeError::new_err("only slices of books are made"))?;
        let bounds = slice.indices(self.rows.len() as isize)?;
        let chosen = self.rows.get(bounds.start as usize..bounds.stop as usize).unwrap_or_default();
        let batch = self.batch.get();
        let rows = chosen.iter().filter_map(|&index| batch.content.rows.get(index as usize));
        let found: PyResult<Vec<_>> = rows.map(|row| batch.message(py, row)).collect();
        PyList::new(py, found?)
    }
}
