//! Decodes records that are plainly valid, and leaves the others to Python.

use std::collections::HashMap;
use std::sync::Mutex;

use foldhash::fast::RandomState;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::batch::{Batch, Factories, LEVELS, Row, Rows};
use crate::guard::guarded;
use crate::scan::Scanner;
use crate::{MAX_TIMESTAMP_MS, MIN_TIMESTAMP_MS};

/// Names that are remembered, so that each is made into a text of Python once.
const REMEMBERED: usize = 16_384;
const LONGEST_NAME: usize = 256;
pub const EXPECTED_ROWS: usize = 32;
/// A row is expected to be no shorter, so that a small batch after a large one takes no room for as many rows.
const ROW_BYTES: usize = 48;
const REMEMBERED_FIELDS: usize = 64;

struct Known {
    name: Py<PyString>,
    /// The number of the last batch that had it, and its place among the symbols of that.
    batch: u64,
    place: u32,
}

/// Separates the names of a feed; those of which one contains it are left to Python.
const SEPARATOR: char = '\0';

/// Names of feeds and symbols.
#[derive(Default)]
pub struct Memory {
    places: HashMap<Box<str>, usize, RandomState>,
    known: Vec<Known>,
    /// By region, exchange and kind of data, with separators.
    feeds: HashMap<Box<str>, Py<PyTuple>, RandomState>,
    feed: String,
    batch: u64,
    /// How many rows the last batch had.
    rows: usize,
}

pub struct Limits {
    pub record_bytes: usize,
    pub messages: usize,
    pub depth: usize,
}

/// A decoder of records within limits, for one thread.
#[pyclass(module = "exporter.core._native")]
pub struct Reader {
    symbol_field: String,
    limits: Limits,
    make: Py<Factories>,
    memory: Memory,
}

/// The fields of a batch beside its rows, as far as they were read.
#[derive(Default)]
struct Outer<'a> {
    region: Option<&'a str>,
    exchange: Option<&'a str>,
    request_type: Option<&'a str>,
    timestamp_ms: Option<i64>,
    declared: Option<i64>,
    rows: Option<Rows>,
}

#[pymethods]
impl Reader {
    #[new]
    fn new(symbol_field: String, record_bytes: usize, messages: usize, depth: usize, make: Py<Factories>) -> Self {
        let limits = Limits { record_bytes, messages, depth };
        Reader { symbol_field, limits, make, memory: Memory::default() }
    }

    /// Return the batch of a record that is plainly valid, None for any other.
    fn read<'py>(&mut self, py: Python<'py>, value: &Bound<'py, PyBytes>) -> PyResult<Option<Bound<'py, Batch>>> {
        match guarded(|| self.decode(py, value)) {
            Some(found) => found.map(|batch| Bound::new(py, batch)).transpose(),
            None => {
                self.memory = Memory::default();
                Ok(None)
            }
        }
    }
}

impl Reader {
    fn decode(&mut self, py: Python<'_>, value: &Bound<'_, PyBytes>) -> Option<Batch> {
        let text = value.as_bytes();
        if text.len() > self.limits.record_bytes {
            return None;
        }
        self.memory.begin();
        let mut scanner = Scanner::new(text, self.limits.depth)?;
        let mut outer = Outer::default();
        let Reader { symbol_field, limits, memory, .. } = self;
        scanner.object(|scanner, field| {
            match field {
                b"region" => outer.region = Some(scanner.plain_str()?),
                b"exchange" => outer.exchange = Some(scanner.plain_str()?),
                b"request_type" => outer.request_type = Some(scanner.plain_str()?),
                b"timestamp_ms" => outer.timestamp_ms = Some(scanner.whole()?),
                b"batch_size" => outer.declared = scanner.whole_or_null()?,
                b"data" if outer.rows.is_none() => {
                    outer.rows = Some(memory.rows(py, scanner, symbol_field.as_bytes(), limits.messages)?);
                }
                b"data" => return None,
                _ => {
                    scanner.skip()?;
                }
            }
            Some(())
        })?;
        if !scanner.is_at_end() {
            return None;
        }
        let timestamp_ms = outer.timestamp_ms.filter(|stamp| (0..=MAX_TIMESTAMP_MS).contains(stamp))?;
        let names = (outer.region?, outer.exchange?, outer.request_type?);
        let key = memory.feed(py, names, &self.make)?;
        let content = outer.rows?;
        let (sorted, implausible) = sorted_stamps(&content.rows);
        let (declared, value, make) = (outer.declared, value.clone().unbind(), self.make.clone_ref(py));
        Some(Batch { content, key, timestamp_ms, declared, sorted, implausible, value, make, books: Mutex::new(None) })
    }
}

impl Memory {
    /// Prepare for a batch.
    pub fn begin(&mut self) {
        self.batch += 1;
        if self.known.len() > REMEMBERED {
            self.places.clear();
            self.known.clear();
        }
        if self.feeds.len() > REMEMBERED {
            self.feeds.clear();
        }
    }

    /// Return the key of a feed.
    pub fn feed(&mut self, py: Python<'_>, names: (&str, &str, &str), make: &Py<Factories>) -> Option<Py<PyTuple>> {
        let (region, exchange, request_type) = names;
        self.feed.clear();
        for name in [region, exchange, request_type] {
            if name.len() > LONGEST_NAME || name.contains(SEPARATOR) {
                return None;
            }
            self.feed.push_str(name);
            self.feed.push(SEPARATOR);
        }
        if let Some(key) = self.feeds.get(&*self.feed) {
            return Some(key.clone_ref(py));
        }
        let made = make.get().key.bind(py).call1(names).ok()?;
        let key = made.cast_into::<PyTuple>().ok()?.unbind();
        self.feeds.insert(self.feed.as_str().into(), key.clone_ref(py));
        Some(key)
    }

    fn rows(&mut self, py: Python<'_>, scanner: &mut Scanner<'_>, field: &[u8], limit: usize) -> Option<Rows> {
        let mut found = Rows::new(self.rows.min(scanner.left() / ROW_BYTES).max(1).min(limit));
        let mut before: Option<(&[u8], u32)> = None;
        let mut fields = Vec::new();
        scanner.array(|scanner| {
            if found.rows.len() == limit {
                return None;
            }
            // A batch may have a single row, so only the second is remembered.
            let remembered = if found.rows.is_empty() { 0 } else { REMEMBERED_FIELDS };
            let (mut row, symbol) = read_row(scanner, field, (&mut fields, remembered), &mut found.levels)?;
            row.symbol = match before {
                Some((text, place)) if text == symbol => place,
                _ => self.place(py, symbol, &mut found)?,
            };
            before = Some((symbol, row.symbol));
            found.rows.push(row);
            Some(())
        })?;
        self.rows = found.rows.len();
        Some(found)
    }

    /// Return the place of a symbol among those of the batch, to which it is added if it is new.
    pub fn place(&mut self, py: Python<'_>, symbol: &[u8], found: &mut Rows) -> Option<u32> {
        let text = std::str::from_utf8(symbol).ok().filter(|text| text.len() <= LONGEST_NAME)?;
        let index = match self.places.get(text) {
            Some(&index) => index,
            None => {
                let index = self.known.len();
                self.known.push(Known { name: PyString::new(py, text).unbind(), batch: 0, place: 0 });
                self.places.insert(text.into(), index);
                index
            }
        };
        let known = self.known.get_mut(index)?;
        if known.batch != self.batch {
            known.batch = self.batch;
            known.place = found.add(text);
            found.names.push(known.name.clone_ref(py));
        }
        Some(known.place)
    }
}

/// What a field of a row is.
#[derive(Clone, Copy)]
enum Field {
    Stamp,
    Last,
    High,
    Low,
    Price,
    Symbol,
    /// One of `LEVELS`.
    Levels(usize),
    Other,
}

impl Field {
    fn of(name: &[u8], symbol_field: &[u8]) -> Self {
        match name {
            b"timestamp" => Field::Stamp,
            b"last" => Field::Last,
            b"high" => Field::High,
            b"low" => Field::Low,
            b"price" => Field::Price,
            _ if name == symbol_field => Field::Symbol,
            _ => LEVELS.iter().position(|side| *side == name).map_or(Field::Other, Field::Levels),
        }
    }
}

fn read_row<'a>(
    scanner: &mut Scanner<'a>,
    symbol_field: &[u8],
    (fields, remembered): (&mut Vec<(&'a [u8], Field)>, usize),
    levels: &mut Vec<[Option<(u32, u32)>; 3]>,
) -> Option<(Row, &'a [u8])> {
    let mut row = Row::new();
    let mut symbol = None;
    let kind = |name: &[u8]| Field::of(name, symbol_field);
    scanner.object_like(fields, remembered, kind, |scanner, field| {
        match field {
            Field::Stamp => {
                let stamp = scanner.whole_or_null()?;
                row.stamp = stamp.unwrap_or(0) as f64;
                row.has_null_stamp = stamp.is_none();
            }
            Field::Last => row.last = price(scanner)?,
            Field::High => row.high = price(scanner)?,
            Field::Low => row.low = price(scanner)?,
            Field::Price => row.price = price(scanner)?,
            Field::Symbol => {
                let span = scanner.plain_text()?;
                symbol = Some(scanner.slice(span));
            }
            Field::Levels(side) => {
                let span = scanner.skip()?;
                let index = *row.levels.get_or_insert(levels.len() as u32) as usize;
                if index == levels.len() {
                    levels.push([None; 3]);
                }
                *levels.get_mut(index)?.get_mut(side)? = Some(span);
            }
            Field::Other => _ = scanner.skip()?,
        }
        Some(())
    })?;
    Some((row, symbol?))
}

fn price(scanner: &mut Scanner<'_>) -> Option<f64> {
    scanner.double_or_null().map(|value| value.unwrap_or(f64::NAN))
}

/// Return the plausible stamps in order, and the number of the others; 0 and null are none.
pub fn sorted_stamps(rows: &[Row]) -> (Vec<i64>, usize) {
    let mut sorted: Vec<i64> = rows.iter().filter(|row| row.is_stamped()).map(|row| row.stamp as i64).collect();
    let none = rows.iter().filter(|row| row.stamp == 0.0).count();
    let implausible = rows.len() - sorted.len() - none;
    debug_assert!(sorted.iter().all(|stamp| *stamp >= MIN_TIMESTAMP_MS));
    sorted.sort_unstable();
    (sorted, implausible)
}
