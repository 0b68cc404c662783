//! What is known of the symbols of one feed: the pass over the rows of each batch.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::batch::{Batch, Books, Row, Rows};
use crate::guard::guarded;

/// What a pass over the rows may find, each a bit.
const MOVED: u32 = 1;
const TIME_BACKWARDS: u32 = 2;
const INVALID_PRICE: u32 = 4;
const INVERTED_RANGE: u32 = 8;
const OUT_OF_RANGE: u32 = 16;
const JUMP: u32 = 32;

// As in Python; tests/test_native.py compares them.
const JUMP_DEVIATIONS: f64 = 20.0;
const JUMP_RATIO: f64 = 0.05;
const WARM_UP_CHANGES: u32 = 30;
const PULL: f64 = 1.0 / 64.0;
const BACKWARDS_MS: f64 = 5000.0;

#[derive(Clone)]
struct State {
    /// NaN before the first price.
    price: f64,
    stamp: f64,
    scale: f64,
    changes: u32,
}

const UNKNOWN: State = State { price: f64::NAN, stamp: 0.0, scale: 0.0, changes: 0 };

impl State {
    fn is_untraded(&self, price: f64) -> bool {
        price == 0.0 && self.price.is_nan()
    }

    /// Take one row into account.
    fn observe(&mut self, row: &Row, slack: f64) -> u32 {
        let mut found = 0;
        if row.is_stamped() {
            if row.stamp < self.stamp && row.stamp < self.stamp - slack {
                found |= TIME_BACKWARDS;
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
                found |= OUT_OF_RANGE;
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
        if change > clip && change > JUMP_RATIO { MOVED | JUMP } else { MOVED }
    }
}

/// The last prices and timestamps of the symbols of one feed, of at most `limit` symbols.
#[pyclass(module = "exporter.core._native")]
pub struct Symbols {
    #[pyo3(get, set)]
    limit: usize,
    no_json: Py<PyAny>,
    places: HashMap<Box<str>, usize, RandomState>,
    states: Vec<State>,
    free: Vec<usize>,
}

#[pymethods]
impl Symbols {
    /// `no_json` stands for levels that a row of Python does not have.
    #[new]
    fn new(limit: usize, no_json: Py<PyAny>) -> Self {
        Symbols { limit, no_json, places: HashMap::default(), states: Vec::new(), free: Vec::new() }
    }

    fn __len__(&self) -> usize {
        self.places.len()
    }

    /// Pass over the rows of a batch once; return what was found, as bits, and the order books among them.
    fn examine<'py>(
        &mut self,
        py: Python<'py>,
        stats: &Bound<'py, PyAny>,
        slack: f64,
    ) -> PyResult<(u32, Bound<'py, PyAny>)> {
        let Ok(batch) = stats.cast::<Batch>() else {
            let rows = python_rows(stats)?;
            let (found, books) = self.guarded_pass(&converted(&rows, self.no_json.bind(py))?, slack);
            let chosen: PyResult<Vec<_>> = books.iter().map(|&index| rows.get_item(index as usize)).collect();
            return Ok((found, PyList::new(py, chosen?)?.into_any()));
        };
        let (found, rows) = self.guarded_pass(&batch.get().content, slack);
        if rows.is_empty() {
            return Ok((found, PyTuple::empty(py).into_any()));
        }
        let books = Books { batch: batch.clone().unbind(), rows };
        Ok((found, Bound::new(py, books)?.into_any()))
    }

    /// Whether one of the messages is clearly older than the last one of its symbol.
    fn knows_newer(&self, py: Python<'_>, stats: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(match stats.cast::<Batch>() {
            Ok(batch) => self.has_newer(&batch.get().content),
            Err(_) => self.has_newer(&converted(&python_rows(stats)?, self.no_json.bind(py))?),
        })
    }

    /// Return the last price of a symbol, if it has one.
    fn price(&self, symbol: &str) -> Option<f64> {
        let known = self.places.get(symbol).and_then(|&place| self.states.get(place));
        known.map(|state| state.price).filter(|&price| price > 0.0)
    }

    /// Return the last price of each symbol that has one.
    fn prices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let prices = PyDict::new(py);
        for (symbol, &place) in &self.places {
            if let Some(state) = self.states.get(place).filter(|state| state.price > 0.0) {
                prices.set_item(&**symbol, state.price)?;
            }
        }
        Ok(prices)
    }

    /// Forget a symbol, known or not.
    fn forget(&mut self, symbol: &str) {
        if let Some(place) = self.places.remove(symbol) {
            self.free.push(place);
        }
    }
}

impl Symbols {
    /// Return the place of the state of a symbol, None for one that is new and beyond the limit.
    fn place(&mut self, symbol: &str) -> Option<usize> {
        if let Some(&place) = self.places.get(symbol) {
            return Some(place);
        }
        if self.places.len() >= self.limit {
            return None;
        }
        let place = self.free.pop().unwrap_or(self.states.len());
        match self.states.get_mut(place) {
            Some(state) => *state = UNKNOWN,
            None => self.states.push(UNKNOWN),
        }
        self.places.insert(symbol.into(), place);
        Some(place)
    }

    /// As `pass`; after a panic nothing is found, and no symbol is known.
    fn guarded_pass(&mut self, content: &Rows, slack: f64) -> (u32, Vec<u32>) {
        guarded(|| self.pass(content, slack)).unwrap_or_else(|| {
            (self.places, self.states, self.free) = Default::default();
            Default::default()
        })
    }

    /// Return what is found in the rows, and which of them are order books, the last of each symbol.
    fn pass(&mut self, content: &Rows, slack: f64) -> (u32, Vec<u32>) {
        let places: Vec<Option<usize>> = content.texts().map(|text| self.place(text)).collect();
        let mut found = 0;
        let mut books = LastOfEach::default();
        for (index, row) in content.rows.iter().enumerate() {
            let place = places.get(row.symbol as usize).copied().flatten();
            found |= match place.and_then(|place| self.states.get_mut(place)) {
                Some(state) => state.observe(row, slack),
                None => UNKNOWN.clone().observe(row, slack),
            };
            if row.levels.is_some() && row.last.is_nan() && row.price.is_nan() {
                books.add(row.symbol as usize, index as u32);
            }
        }
        (found, books.rows)
    }

    fn has_newer(&self, content: &Rows) -> bool {
        let stamp_of = |text: &str| {
            self.places.get(text).and_then(|&place| self.states.get(place)).map_or(0.0, |state| state.stamp)
        };
        let stamps: Vec<f64> = content.texts().map(stamp_of).collect();
        content.rows.iter().any(|row| {
            let known = stamps.get(row.symbol as usize).copied().unwrap_or(0.0);
            0.0 < row.stamp && row.stamp < known - BACKWARDS_MS
        })
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
            }
        }
        found.rows.push(row);
    }
    Ok(found)
}

fn double(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if value.is_none() { Ok(f64::NAN) } else { value.extract() }
}
