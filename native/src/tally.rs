//! What is counted and known of one feed; what happens once a second reads it from here.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString, PyTuple};

use crate::batch::Batch;
use crate::books::best;
use crate::cells::Number;
use crate::contents::Rest;
use crate::feed::{Bounds, Feed, Found, PENDING_INTERVALS};
use crate::guard::guarded;
use crate::measures::{Arrival, Measures};
use crate::symbols::Content;

// What else an observation returns, each a bit above those of anomalies.
/// Some symbols are not admitted yet; nothing was counted.
const UNKNOWN: u32 = 1 << 16;
/// The batch is late, so it depends on the feed's limit on silence what it is; nothing was counted.
const LATE: u32 = 1 << 17;
/// `conclude` is to be called, once its books are read.
const OPEN: u32 = 1 << 18;
const REPLAY: u32 = 1 << 19;
/// So many intervals wait that they have to be taken.
const FULL: u32 = 1 << 20;

/// The counters and the last values of one feed.
#[pyclass(module = "exporter.core._native")]
pub struct Tally {
    feed: Feed,
    bounds: Py<Bounds>,
    no_json: Py<PyAny>,
    /// Whether Python looks at each batch, so that none is plain.
    #[pyo3(get, set)]
    finds_more: bool,
    open: Option<Rest>,
    books: Option<Py<PyAny>>,
}

#[pymethods]
impl Tally {
    /// `late_ms` is the age from which on data is late, `limit` that of the symbols whose states are kept, `no_json`
    /// stands for levels that a row of Python does not have.
    #[new]
    fn new(py: Python<'_>, bounds: Py<Bounds>, late_ms: i64, limit: usize, no_json: Py<PyAny>) -> Self {
        let feed = Feed::new(bounds.clone_ref(py), late_ms, limit);
        Tally { feed, bounds, no_json, finds_more: false, open: None, books: None }
    }

    #[getter]
    fn version(&self) -> u64 {
        self.feed.version
    }

    #[setter]
    fn set_version(&mut self, version: u64) {
        self.feed.version = version;
    }

    #[getter]
    fn batches(&self) -> u64 {
        self.feed.batches
    }

    #[getter]
    fn messages(&self) -> u64 {
        self.feed.messages
    }

    #[getter]
    fn counted_ms(&self) -> i64 {
        self.feed.counted_ms
    }

    /// Let data be late by another time from now on.
    fn allow(&mut self, late_ms: i64) {
        self.feed.watermark.allow(late_ms);
    }

    #[getter]
    fn late_ms(&self) -> f64 {
        self.feed.watermark.late_ms
    }

    #[getter]
    fn limit(&self) -> usize {
        self.feed.symbols.limit
    }

    #[setter]
    fn set_limit(&mut self, limit: usize) {
        self.feed.symbols.limit = limit;
    }

    /// Count and remember a batch; return what was found, as bits.
    ///
    /// Without `is_admitted` nothing is done for a batch with symbols that are not known, without `patience_ms`, the
    /// limit on silence of the feed, nothing for one that may be a replay.
    fn count(
        slf: &Bound<'_, Self>,
        stats: &Bound<'_, PyAny>,
        times: (i64, i64, bool),
        is_admitted: bool,
        patience_ms: Option<i64>,
    ) -> PyResult<u32> {
        let (record_ms, received_ms, is_live) = times;
        let arrival = Arrival { record_ms, received_ms, is_live, is_replay: false };
        let (content, batch) = Self::measured(slf, stats)?;
        let tally = &mut *slf.try_borrow_mut()?;
        let counted = guarded(|| {
            let rows = content.rows();
            let Some(places) = tally.feed.places(rows, is_admitted) else { return Err(UNKNOWN) };
            let Some(arrival) = tally.feed.judged(rows, &batch, arrival, patience_ms) else { return Err(LATE) };
            Ok((tally.feed.observe(rows, &batch, arrival, &places), arrival.is_replay))
        });
        match counted {
            None => Ok(0),
            Some(Err(bits)) => Ok(bits),
            Some(Ok((found, is_replay))) => tally.finish(slf.py(), &content, found, is_replay),
        }
    }

    /// Remember a batch that is not counted; return whether its symbols are known, without which nothing is done.
    fn remember(slf: &Bound<'_, Self>, stats: &Bound<'_, PyAny>, sent_ms: i64, is_admitted: bool) -> PyResult<bool> {
        let (content, batch) = Self::measured(slf, stats)?;
        let feed = &mut slf.try_borrow_mut()?.feed;
        let kept = guarded(|| {
            let places = feed.places(content.rows(), is_admitted);
            places.map(|places| feed.keep(&batch, &places, sent_ms)).is_some()
        });
        Ok(kept.unwrap_or(true))
    }

    /// Return the order books of the batch that was counted last.
    fn take_books(&mut self, py: Python<'_>) -> Py<PyAny> {
        self.books.take().unwrap_or_else(|| PyTuple::empty(py).into_any().unbind())
    }

    /// End the observation of a batch whose order books were read; return what was found, as bits.
    fn conclude(&mut self, moved: bool) -> u32 {
        let Some(mut rest) = self.open.take() else { return 0 };
        rest.moved |= moved;
        self.feed.conclude(&rest)
    }

    /// Let no time be later than this.
    fn set_back(&mut self, now_ms: i64) {
        self.feed.set_back(now_ms);
    }

    // Histograms, by number: sizes, unique symbols, efficiencies, ages, intervals, and the four stages.

    fn counts(&self, histogram: usize) -> Vec<u64> {
        self.feed.cells(histogram).map(|cells| cells.counts.clone()).unwrap_or_default()
    }

    fn total<'py>(&self, py: Python<'py>, histogram: usize) -> PyResult<Bound<'py, PyAny>> {
        self.feed.cells(histogram).map_or(Number::ZERO, |cells| cells.sum).to_python(py)
    }

    // Latency.

    fn skewed(&self, stage: usize) -> u64 {
        self.feed.latency.hop(stage).map_or(0, |hop| hop.skewed)
    }

    fn skew_ms<'py>(&self, py: Python<'py>, stage: usize) -> PyResult<Bound<'py, PyAny>> {
        Number::Whole(self.feed.latency.hop(stage).map_or(0, |hop| hop.skew_ms())).to_python(py)
    }

    #[getter]
    fn catch_up(&self) -> u64 {
        self.feed.latency.catch_up
    }

    #[getter]
    fn skipped(&self) -> u64 {
        self.feed.latency.skipped
    }

    #[getter]
    fn newer(&self) -> u64 {
        self.feed.ages.newer
    }

    // Freshness.

    #[getter]
    fn last_sent_ms(&self) -> i64 {
        self.feed.freshness.last_sent_ms
    }

    #[setter]
    fn set_last_sent_ms(&mut self, time_ms: i64) {
        self.feed.freshness.last_sent_ms = time_ms;
    }

    #[getter]
    fn last_arrival_ms(&self) -> i64 {
        self.feed.freshness.last_arrival_ms
    }

    #[setter]
    fn set_last_arrival_ms(&mut self, time_ms: i64) {
        self.feed.freshness.last_arrival_ms = time_ms;
    }

    #[getter]
    fn record_ms(&self) -> i64 {
        self.feed.freshness.record_ms
    }

    #[setter]
    fn set_record_ms(&mut self, time_ms: i64) {
        self.feed.freshness.record_ms = time_ms;
    }

    /// Return the intervals since the last call, oldest first.
    fn take_intervals(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.feed.freshness.pending)
    }

    // Prices and symbols.

    #[getter]
    fn last_price_change_ms(&self) -> i64 {
        self.feed.quality.last_price_change_ms
    }

    fn price(&self, symbol: &str) -> Option<f64> {
        self.feed.symbols.price(symbol)
    }

    fn prices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.feed.symbols.prices(py)
    }

    fn __len__(&self) -> usize {
        self.feed.symbols.len()
    }

    fn seen<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.feed.symbols.seen(py)
    }

    fn symbol_messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.feed.symbols.messages(py)
    }

    /// Return those of the symbols that are not known.
    fn unknown<'py>(&self, py: Python<'py>, symbols: &Bound<'py, PySet>) -> PyResult<Bound<'py, PySet>> {
        let new = PySet::empty(py)?;
        for symbol in symbols.iter() {
            if !self.feed.symbols.has(&symbol.cast::<PyString>()?.to_cow()?) {
                new.add(symbol)?;
            }
        }
        Ok(new)
    }

    fn forget(&mut self, symbol: &str) {
        self.feed.symbols.forget(symbol);
        self.feed.books.forget(symbol);
    }

    // Order books that Python reads.

    #[getter]
    fn has_books(&self) -> bool {
        self.feed.has_books
    }

    #[getter]
    fn book_turn(&self) -> usize {
        self.feed.books.turn
    }

    #[setter]
    fn set_book_turn(&mut self, turn: usize) {
        self.feed.books.turn = turn;
    }

    #[getter]
    fn whole_books(&self) -> f64 {
        self.feed.books.whole
    }

    #[setter]
    fn set_whole_books(&mut self, number: f64) {
        self.feed.books.whole = number;
    }

    fn has_book(&self, symbol: &str) -> bool {
        self.feed.books.has(symbol)
    }

    /// Take the best prices of a book; return whether one moved, whether they cross, and whether the book is read.
    fn take_book(&mut self, symbol: &str, ask: f64, bid: f64) -> (bool, bool, bool) {
        let taken = self.feed.books.take(symbol, ask, bid, self.feed.symbols.limit);
        self.feed.has_books |= taken.is_read;
        (taken.moved, taken.bits != 0, taken.is_read)
    }

    fn add_spread(&mut self, spread: f64) {
        self.feed.add_spread(spread);
    }

    // Last values.

    #[getter]
    fn last(&self) -> Option<(usize, usize, f64, i64)> {
        self.feed.last.result
    }

    #[getter]
    fn last_batch_ms(&self) -> i64 {
        self.feed.last.batch_ms
    }

    #[getter]
    fn last_message_ms(&self) -> i64 {
        self.feed.last.message_ms
    }

    #[getter]
    fn last_received_ms(&self) -> i64 {
        self.feed.last.received_ms
    }
}

impl Tally {
    /// Return the rows and the numbers of a batch; Python may run meanwhile, so nothing is changed.
    fn measured<'a, 'py>(
        slf: &Bound<'py, Self>,
        stats: &'a Bound<'py, PyAny>,
    ) -> PyResult<(Content<'a, 'py>, Measures<'a>)> {
        let (no_json, bounds) = {
            let tally = slf.try_borrow()?;
            (tally.no_json.clone_ref(slf.py()), tally.bounds.clone_ref(slf.py()))
        };
        let content = Content::of(stats, &no_json)?;
        let batch = Measures::of(stats, &content, &bounds.get().ages)?;
        Ok((content, batch))
    }

    fn finish(&mut self, py: Python<'_>, content: &Content<'_, '_>, found: Found, is_replay: bool) -> PyResult<u32> {
        let Found { mut bits, rest } = found;
        let books = content.books(py)?;
        if books.is_empty()? && matches!(content, Content::Native(_)) {
            bits |= self.feed.conclude(&rest);
        } else {
            self.open = Some(rest);
            self.books = Some(books.unbind());
            bits |= OPEN;
        }
        let is_full = self.feed.freshness.pending.len() >= PENDING_INTERVALS;
        Ok(bits | if is_full { FULL } else { 0 } | if is_replay { REPLAY } else { 0 })
    }

    /// As `count`; None, with nothing done, for a batch that is not plain.
    pub fn take(&mut self, batch: &Batch, text: &[u8], measures: &Measures<'_>, arrival: Arrival) -> Option<u32> {
        let rows = &batch.content;
        let feed = &mut self.feed;
        if self.finds_more || feed.freshness.pending.len() >= PENDING_INTERVALS {
            return None;
        }
        feed.fetch();
        let taken = guarded(|| {
            let books = rows.books();
            let (chosen, turn) = feed.books.chosen(&books);
            let bests = chosen.iter().map(|&index| {
                let row = rows.rows.get(index as usize)?;
                Some((rows.symbol(row), best(rows, row, text)?))
            });
            let bests: Vec<_> = bests.collect::<Option<_>>()?;
            let places = feed.places(rows, false)?;
            let arrival = feed.judged(rows, measures, arrival, None)?;
            let mut found = feed.observe(rows, measures, arrival, &places);
            feed.books.turn = turn;
            feed.read_books(&bests, &mut found);
            Some(found.bits | feed.conclude(&found.rest))
        });
        taken.unwrap_or(Some(0))
    }
}
