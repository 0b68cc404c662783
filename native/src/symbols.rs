//! What is known of the symbols of one feed: the pass over the rows of each batch.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::batch::{Batch, Books, Row, Rows};
use crate::guard::guarded;
use crate::names::{Name, Places};

/// What a pass over the rows may find, each a bit.
pub const MOVED: u32 = 1;
const MESSAGE_TIME_BACKWARDS: u32 = 2;
const INVALID_PRICE: u32 = 4;
const INVERTED_RANGE: u32 = 8;
const PRICE_OUT_OF_RANGE: u32 = 16;
const PRICE_JUMP: u32 = 32;

// As in Python; tests/test_native.py compares them.
const JUMP_DEVIATIONS: f64 = 20.0;
const JUMP_RATIO: f64 = 0.05;
const WARM_UP_CHANGES: u32 = 30;
const PULL: f64 = 1.0 / 64.0;
pub const BACKWARDS_MS: f64 = 5000.0;

#[derive(Clone)]
struct State {
    /// NaN before the first price.
    price: f64,
    stamp: f64,
    scale: f64,
    changes: u32,
    /// Whether it is kept, as there was room for it when its symbol was first examined.
    is_known: bool,
}

const UNKNOWN: State = State { price: f64::NAN, stamp: 0.0, scale: 0.0, changes: 0, is_known: false };

impl State {
    fn is_untraded(&self, price: f64) -> bool {
        price == 0.0 && self.price.is_nan()
    }

    /// Take one row into account.
    fn observe(&mut self, row: &Row, slack: f64) -> u32 {
        let mut found = 0;
        if row.is_stamped() {
            if row.stamp < self.stamp && row.stamp < self.stamp - slack {
                found |= MESSAGE_TIME_BACKWARDS;
            }
            self.stamp = row.stamp;
        }
        let price = if row.last.is_nan() { row.price } else { row.last };
        if price.is_nan() {
            return found;
        }
        if price != self.price {
            found |= self.take(price);
        }
        let has_range = !row.low.is_nan() && !row.high.is_nan();
        if has_range && (price < row.low || row.high < price) {
            if row.high < row.low {
                found |= INVERTED_RANGE;
            } else if row.high != 0.0 && !self.is_untraded(price) {
                found |= PRICE_OUT_OF_RANGE;
            }
        }
        found
    }

    /// Examine a price that differs from the one before, and remember it.
    fn take(&mut self, price: f64) -> u32 {
        if !(0.0 < price && price < f64::INFINITY) {
            return if self.is_untraded(price) { 0 } else { INVALID_PRICE };
        }
        let before = std::mem::replace(&mut self.price, price);
        if before.is_nan() {
            return MOVED;
        }
        let change = if price > before { price / before - 1.0 } else { before / price - 1.0 };
        let usual = self.scale;
        if self.changes < WARM_UP_CHANGES {
            self.changes += 1;
            self.scale = usual + (change - usual) / f64::from(self.changes);
            return MOVED;
        }
        let clip = usual * JUMP_DEVIATIONS;
        self.scale = usual + ((if change < clip { change } else { clip }) - usual) * PULL;
        if change > clip && change > JUMP_RATIO { MOVED | PRICE_JUMP } else { MOVED }
    }
}

/// What is known of one symbol, which has no name once it is forgotten.
struct Entry {
    name: Name,
    state: State,
    /// When it was last in a batch, and in how many messages that were counted.
    seen_ms: i64,
    messages: u64,
}

impl Entry {
    fn new(symbol: &str) -> Self {
        Entry { name: Name::new(symbol), state: UNKNOWN, seen_ms: i64::MIN, messages: 0 }
    }
}

/// The symbols of one feed, of which the states of at most `limit` are kept.
pub struct Table {
    pub limit: usize,
    places: Places,
    entries: Vec<Entry>,
    free: Vec<usize>,
    known: usize,
}

impl Table {
    pub fn new(limit: usize) -> Self {
        Table { limit, places: Places::new(), entries: Vec::new(), free: Vec::new(), known: 0 }
    }

    fn place(&self, symbol: &str) -> Option<usize> {
        self.places.find(symbol, |place| self.entries.get(place).map(|entry| &entry.name))
    }

    pub fn has(&self, symbol: &str) -> bool {
        self.place(symbol).is_some()
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Return the counted messages of the first symbol.
    pub fn first_count(&self) -> u64 {
        self.entries.first().map_or(0, |entry| entry.messages)
    }

    /// Return the place of each symbol of a batch; `usize::MAX` stands for one that is not in the table.
    pub fn find(&self, content: &Rows) -> Vec<usize> {
        // Collectors send symbols mostly in the same order.
        let mut next = 0;
        let place = |text: &str| {
            let is_next = self.entries.get(next).is_some_and(|entry| entry.name.is(text));
            let place = if is_next { Some(next) } else { self.place(text) };
            next = place.unwrap_or(next) + 1;
            place.unwrap_or(usize::MAX)
        };
        content.texts().map(place).collect()
    }

    /// Add the symbols of a batch that are not in the table, and return the place of each.
    pub fn add_all(&mut self, content: &Rows) -> Vec<usize> {
        content.texts().map(|text| self.add(text)).collect()
    }

    fn add(&mut self, symbol: &str) -> usize {
        if let Some(place) = self.place(symbol) {
            return place;
        }
        let entry = Entry::new(symbol);
        let place = self.free.pop().unwrap_or(self.entries.len());
        match self.entries.get_mut(place) {
            Some(old) => *old = entry,
            None => self.append(entry),
        }
        let Table { places, entries, .. } = self;
        places.add(symbol, place, |place| entries.get(place).map(|entry| &entry.name));
        place
    }

    fn append(&mut self, entry: Entry) {
        if self.entries.len() == self.entries.capacity() {
            // Most of the memory of a feed with many symbols: by less than to the double.
            self.entries.reserve_exact(self.entries.len() / 4 + 4);
        }
        self.entries.push(entry);
    }

    /// Remove a symbol, in the table or not.
    pub fn forget(&mut self, symbol: &str) {
        let Table { places, entries, .. } = self;
        let removed = places.remove(symbol, |place| entries.get(place).map(|entry| &entry.name));
        let Some(place) = removed else { return };
        self.free.push(place);
        if let Some(entry) = self.entries.get_mut(place) {
            self.known -= usize::from(entry.state.is_known);
            (entry.state.is_known, entry.name) = (false, Name::None);
        }
    }

    fn state(&self, symbol: &str) -> Option<&State> {
        let entry = self.place(symbol).and_then(|place| self.entries.get(place))?;
        Some(&entry.state).filter(|state| state.is_known)
    }

    /// Return the last price of a symbol, if it has one.
    pub fn price(&self, symbol: &str) -> Option<f64> {
        self.state(symbol).map(|state| state.price).filter(|&price| price > 0.0)
    }

    /// Return the last price of each symbol that has one.
    pub fn prices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let prices = PyDict::new(py);
        for (symbol, entry) in self.iter().filter(|(_, entry)| entry.state.is_known && entry.state.price > 0.0) {
            prices.set_item(symbol, entry.state.price)?;
        }
        Ok(prices)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().filter_map(|entry| Some((entry.name.text()?, entry)))
    }

    /// Return when each symbol was last in a batch.
    pub fn seen<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let seen = PyDict::new(py);
        self.iter().try_for_each(|(symbol, entry)| seen.set_item(symbol, entry.seen_ms))?;
        Ok(seen)
    }

    /// Return the counted messages of each symbol that has any.
    pub fn messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let messages = PyDict::new(py);
        let counted = self.iter().filter(|(_, entry)| entry.messages > 0);
        counted.into_iter().try_for_each(|(symbol, entry)| messages.set_item(symbol, entry.messages))?;
        Ok(messages)
    }

    /// Set when each of the symbols was seen, unless it was seen later.
    pub fn mark_seen(&mut self, places: &[usize], sent_ms: i64) {
        for &place in places {
            if let Some(entry) = self.entries.get_mut(place) {
                entry.seen_ms = entry.seen_ms.max(sent_ms);
            }
        }
    }

    /// Let no symbol be seen later than this.
    pub fn set_back(&mut self, now_ms: i64) {
        for entry in &mut self.entries {
            entry.seen_ms = entry.seen_ms.min(now_ms);
        }
    }

    /// Add the messages of each symbol to its count.
    pub fn count_messages(&mut self, content: &Rows, places: &[usize]) {
        for row in &content.rows {
            let place = places.get(row.symbol as usize).copied().unwrap_or(usize::MAX);
            if let Some(entry) = self.entries.get_mut(place) {
                entry.messages += 1;
            }
        }
    }

    /// Keep the states of symbols that are examined for the first time, as far as there is room.
    fn meet(&mut self, places: &[usize]) {
        for &place in places {
            if let Some(entry) = self.entries.get_mut(place).filter(|entry| !entry.state.is_known) {
                if self.known < self.limit {
                    entry.state = State { is_known: true, ..UNKNOWN };
                    self.known += 1;
                }
            }
        }
    }

    /// Return what is found in the rows, as bits.
    pub fn pass(&mut self, content: &Rows, places: &[usize], slack: f64) -> u32 {
        self.meet(places);
        let mut found = 0;
        for row in &content.rows {
            let place = places.get(row.symbol as usize).copied().unwrap_or(usize::MAX);
            found |= match self.entries.get_mut(place).filter(|entry| entry.state.is_known) {
                Some(entry) => entry.state.observe(row, slack),
                None => UNKNOWN.clone().observe(row, slack),
            };
        }
        found
    }

    /// As `pass`, of symbols that are in no table yet unless there was room for them.
    pub fn pass_new(&mut self, content: &Rows, slack: f64) -> u32 {
        let mut places = self.find(content);
        for (place, text) in places.iter_mut().zip(content.texts()) {
            if *place == usize::MAX && self.places.len() < self.limit {
                *place = self.add(text);
            }
        }
        self.pass(content, &places, slack)
    }

    /// Whether one of the messages is clearly older than the last one of its symbol.
    pub fn has_newer(&self, content: &Rows) -> bool {
        let stamps: Vec<f64> = content.texts().map(|text| self.state(text).map_or(0.0, |state| state.stamp)).collect();
        content.rows.iter().any(|row| {
            let known = stamps.get(row.symbol as usize).copied().unwrap_or(0.0);
            0.0 < row.stamp && row.stamp < known - BACKWARDS_MS
        })
    }
}

/// The states of the symbols of one feed alone, where Python does the rest of its analysis.
#[pyclass(module = "exporter.core._native")]
pub struct Symbols {
    table: Table,
    no_json: Py<PyAny>,
}

#[pymethods]
impl Symbols {
    /// `no_json` stands for levels that a row of Python does not have.
    #[new]
    fn new(limit: usize, no_json: Py<PyAny>) -> Self {
        Symbols { table: Table::new(limit), no_json }
    }

    fn __len__(&self) -> usize {
        self.table.known
    }

    #[getter]
    fn get_limit(&self) -> usize {
        self.table.limit
    }

    #[setter]
    fn set_limit(&mut self, limit: usize) {
        self.table.limit = limit;
    }

    /// Pass over the rows of a batch once; return what was found, as bits, and the order books among them.
    fn examine<'py>(
        &mut self,
        py: Python<'py>,
        stats: &Bound<'py, PyAny>,
        slack: f64,
    ) -> PyResult<(u32, Bound<'py, PyAny>)> {
        let content = Content::of(stats, &self.no_json)?;
        let found = guarded(|| self.table.pass_new(content.rows(), slack)).unwrap_or_else(|| {
            self.table = Table::new(self.table.limit);
            0
        });
        Ok((found, content.books(py)?))
    }

    /// Whether one of the messages is clearly older than the last one of its symbol.
    fn knows_newer(&self, stats: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.table.has_newer(Content::of(stats, &self.no_json)?.rows()))
    }

    fn price(&self, symbol: &str) -> Option<f64> {
        self.table.price(symbol)
    }

    fn prices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.table.prices(py)
    }

    fn forget(&mut self, symbol: &str) {
        self.table.forget(symbol);
    }
}

/// The rows of a batch, which either core decoded.
pub enum Content<'a, 'py> {
    Native(&'a Bound<'py, Batch>),
    Python(Box<Rows>, Bound<'py, PyList>),
}

impl<'a, 'py> Content<'a, 'py> {
    pub fn of(stats: &'a Bound<'py, PyAny>, no_json: &Py<PyAny>) -> PyResult<Self> {
        if let Ok(batch) = stats.cast::<Batch>() {
            return Ok(Content::Native(batch));
        }
        let rows = python_rows(stats)?;
        let found = converted(&rows, no_json.bind(stats.py()))?;
        Ok(Content::Python(Box::new(found), rows))
    }

    pub fn rows(&self) -> &Rows {
        match self {
            Content::Native(batch) => &batch.get().content,
            Content::Python(rows, _) => rows,
        }
    }

    /// Return the rows of order books as a sequence of messages.
    pub fn books(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let rows = self.rows().books();
        if rows.is_empty() {
            return Ok(PyTuple::empty(py).into_any());
        }
        match self {
            Content::Native(batch) => {
                let books = Books { batch: (*batch).clone().unbind(), rows };
                Ok(Bound::new(py, books)?.into_any())
            }
            Content::Python(_, all) => {
                let chosen: PyResult<Vec<_>> = rows.iter().map(|&index| all.get_item(index as usize)).collect();
                Ok(PyList::new(py, chosen?)?.into_any())
            }
        }
    }
}

fn python_rows<'py>(stats: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    Ok(stats.getattr(intern!(stats.py(), "batch"))?.getattr(intern!(stats.py(), "data"))?.cast_into()?)
}

/// Return the rows that Python decoded.
fn converted(rows: &Bound<'_, PyList>, no_json: &Bound<'_, PyAny>) -> PyResult<Rows> {
    let mut found = Rows::new(rows.len());
    let mut places: HashMap<Box<str>, u32, RandomState> = HashMap::default();
    let py = rows.py();
    for one in rows.iter() {
        let name = one.getattr(intern!(py, "symbol"))?.cast_into::<PyString>()?;
        let text = name.to_cow()?;
        let mut row = Row::new();
        row.symbol = match places.get(&*text) {
            Some(&place) => place,
            None => {
                let place = found.add(&text);
                places.insert((&*text).into(), place);
                place
            }
        };
        let stamp = one.getattr(intern!(py, "timestamp"))?;
        row.has_null_stamp = stamp.is_none();
        // A whole number beyond any double is beyond any time.
        row.stamp = if row.has_null_stamp { 0.0 } else { stamp.extract().unwrap_or(f64::INFINITY) };
        row.last = double(&one.getattr(intern!(py, "last"))?)?;
        row.high = double(&one.getattr(intern!(py, "high"))?)?;
        row.low = double(&one.getattr(intern!(py, "low"))?)?;
        row.price = double(&one.getattr(intern!(py, "price"))?)?;
        for side in [intern!(py, "asks"), intern!(py, "bids"), intern!(py, "units")] {
            if !one.getattr(side)?.is(no_json) {
                row.levels = Some(0);
                found.levels.resize(1, [None; 3]);
            }
        }
        found.rows.push(row);
    }
    Ok(found)
}

fn double(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if value.is_none() { Ok(f64::NAN) } else { value.extract() }
}
