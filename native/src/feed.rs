//! What is counted and known of one feed, and how a batch changes it.

use std::hint::black_box;

use pyo3::prelude::*;

use crate::MIN_TIMESTAMP_MS;
use crate::batch::Rows;
use crate::books::{Best, Books};
use crate::cells::{Cells, Number};
use crate::contents::{Completeness, Quality, Rest};
use crate::measures::{Arrival, Measures};
use crate::stages::{Ages, Freshness, Latency, Watermark};
use crate::symbols::{MOVED, Table};

/// In the middle of most histograms.
const FETCHED_BUCKET: usize = 4;
/// So many intervals wait at most.
pub const PENDING_INTERVALS: usize = 1000;

/// The upper bounds of the histograms of all feeds.
#[pyclass(frozen, module = "exporter.core._native")]
pub struct Bounds {
    pub counts: Vec<f64>,
    pub efficiencies: Vec<f64>,
    pub ages: Vec<f64>,
    pub intervals: Vec<f64>,
    pub latencies: Vec<f64>,
    pub spreads: Vec<f64>,
}

#[pymethods]
impl Bounds {
    #[new]
    fn new(
        counts: Vec<f64>,
        efficiencies: Vec<f64>,
        ages: Vec<f64>,
        intervals: Vec<f64>,
        latencies: Vec<f64>,
        spreads: Vec<f64>,
    ) -> Self {
        Bounds { counts, efficiencies, ages, intervals, latencies, spreads }
    }
}

/// The last batch that was remembered, and the newest times.
#[derive(Default)]
pub struct Last {
    pub result: Option<(usize, usize, f64, i64)>,
    pub batch_ms: i64,
    pub message_ms: i64,
    pub received_ms: i64,
}

/// The counters and the last values of one feed.
pub struct Feed {
    bounds: Py<Bounds>,
    pub version: u64,
    pub batches: u64,
    pub messages: u64,
    pub counted_ms: i64,
    pub sizes: Cells,
    pub uniques: Cells,
    pub efficiencies: Cells,
    pub latency: Latency,
    pub ages: Ages,
    completeness: Completeness,
    pub freshness: Freshness,
    pub quality: Quality,
    pub watermark: Watermark,
    pub symbols: Table,
    pub books: Books,
    pub spreads: Cells,
    /// Whether a book was ever read.
    pub has_books: bool,
    pub last: Last,
}

/// What is found in a batch, as bits, and what is to be concluded once its order books are read.
pub struct Found {
    pub bits: u32,
    pub rest: Rest,
}

impl Feed {
    pub fn new(bounds: Py<Bounds>, late_ms: i64, limit: usize) -> Self {
        let of = bounds.get();
        Feed {
            version: 0,
            batches: 0,
            messages: 0,
            counted_ms: 0,
            sizes: Cells::new(&of.counts),
            uniques: Cells::new(&of.counts),
            efficiencies: Cells::new(&of.efficiencies),
            latency: Latency::new(&of.latencies),
            ages: Ages { cells: Cells::new(&of.ages), newer: 0 },
            completeness: Completeness::new(),
            freshness: Freshness::new(&of.intervals),
            quality: Quality::new(),
            watermark: Watermark::new(late_ms),
            symbols: Table::new(limit),
            books: Books::new(),
            spreads: Cells::new(&of.spreads),
            has_books: false,
            last: Last::default(),
            bounds,
        }
    }

    /// Return a histogram by its number, as `exporter.feeds.tally_views` has them.
    pub fn cells(&self, histogram: usize) -> Option<&Cells> {
        Some(match histogram {
            0 => &self.sizes,
            1 => &self.uniques,
            2 => &self.efficiencies,
            3 => &self.ages.cells,
            4 => &self.freshness.intervals,
            9 => &self.spreads,
            stage => &self.latency.hop(stage - 5)?.cells,
        })
    }

    /// Read a little of all that a batch changes. Of a feed that no cache has, the processor then fetches it at once, where
    /// it would wait for one part after the other.
    pub fn fetch(&self) {
        let Latency { collector, broker, sidecar, end, .. } = &self.latency;
        let others = [&self.sizes, &self.uniques, &self.efficiencies, &self.ages.cells, &self.freshness.intervals];
        let read = |cells: &Cells| cells.counts.get(FETCHED_BUCKET).copied().unwrap_or(0);
        let stages = [collector, broker, sidecar, end].map(|stage| read(&stage.cells));
        black_box((stages, others.map(read), self.symbols.first_count()));
    }

    /// Return the places of the symbols of a batch, None if some are unknown and not admitted.
    pub fn places(&mut self, rows: &Rows, is_admitted: bool) -> Option<Vec<usize>> {
        if is_admitted {
            return Some(self.symbols.add_all(rows));
        }
        Some(self.symbols.find(rows)).filter(|places| !places.contains(&usize::MAX))
    }

    /// Return the arrival of a batch, that of old data if it replays the past; None if that depends on `patience_ms`.
    pub fn judged(
        &mut self,
        rows: &Rows,
        batch: &Measures,
        arrival: Arrival,
        patience_ms: Option<i64>,
    ) -> Option<Arrival> {
        let event_time = batch.event_time_ms().real();
        if self.watermark.is_on_time(event_time, arrival.received_ms)
            || (batch.stamped > 0 && !self.symbols.has_newer(rows))
            || self.watermark.turns_back(event_time, arrival.received_ms, patience_ms?)
        {
            return Some(arrival);
        }
        let event_ms = event_time as i64;
        let record_ms = if arrival.record_ms == 0 { event_ms } else { arrival.record_ms.min(event_ms) };
        Some(Arrival { record_ms, is_live: false, is_replay: true, ..arrival })
    }

    /// Count and remember a batch whose symbols are at these places.
    pub fn observe(&mut self, rows: &Rows, batch: &Measures, arrival: Arrival, places: &[usize]) -> Found {
        self.count(batch, arrival);
        self.symbols.count_messages(rows, places);
        let bounds = self.bounds.get();
        self.freshness.observe(&bounds.intervals, arrival);
        self.latency.observe(&bounds.latencies, batch, arrival);
        if arrival.is_live && batch.stamped > 0 && batch.collected_ms >= MIN_TIMESTAMP_MS {
            self.ages.observe(&bounds.ages, &batch.ages, batch.collected_ms);
        }
        let incomplete = self.completeness.observe(batch);
        let mut found = self.observe_content(rows, batch, arrival, places);
        found.bits |= incomplete;
        self.keep(batch, places, if arrival.is_live { arrival.received_ms } else { arrival.record_ms });
        found
    }

    fn count(&mut self, batch: &Measures, arrival: Arrival) {
        let Feed { bounds, sizes, uniques, efficiencies, .. } = self;
        let bounds = bounds.get();
        sizes.add(&bounds.counts, Number::Whole(batch.size as i128));
        uniques.add(&bounds.counts, Number::Whole(batch.unique as i128));
        efficiencies.add(&bounds.efficiencies, Number::Real(batch.efficiency()));
        self.counted_ms = arrival.received_ms;
        self.batches += 1;
        self.messages += batch.size as u64;
    }

    /// Compare a batch with what is known of its feed; a replay is compared with nothing and not remembered.
    fn observe_content(&mut self, rows: &Rows, batch: &Measures, arrival: Arrival, places: &[usize]) -> Found {
        let mut none = Quality::new();
        let quality = if arrival.is_replay { &mut none } else { &mut self.quality };
        let slack = quality.slack(arrival);
        let noted = quality.examine(batch, arrival, slack);
        let seen = if arrival.is_replay {
            Table::new(self.symbols.limit).pass_new(rows, slack)
        } else {
            self.symbols.pass(rows, places, slack)
        };
        let rest = Rest::new(batch, arrival, seen);
        Found { bits: noted | (seen & !MOVED), rest }
    }

    /// Take the best levels of books into account, each with its symbol.
    pub fn read_books(&mut self, bests: &[(&str, Best)], found: &mut Found) {
        for &(symbol, best) in bests {
            let taken = self.books.compare(symbol, best, self.symbols.limit);
            found.bits |= taken.bits;
            found.rest.moved |= taken.moved;
            if taken.is_read {
                self.note_read(best, found.rest.is_live());
            }
        }
    }

    fn note_read(&mut self, best: Best, is_live: bool) {
        self.has_books = true;
        let (ask, bid) = best.prices();
        if is_live && 0.0 < bid && bid < ask {
            self.add_spread(2.0 * (ask - bid) / (ask + bid));
        }
    }

    pub fn add_spread(&mut self, spread: f64) {
        self.spreads.add(&self.bounds.get().spreads, Number::Real(spread));
    }

    /// Return what is found at last, as bits.
    pub fn conclude(&mut self, rest: &Rest) -> u32 {
        if rest.is_replay() { 0 } else { self.quality.conclude(rest) }
    }

    /// Keep the values of the last batch; one that is older than the last changes only what is known of its symbols.
    pub fn keep(&mut self, batch: &Measures, places: &[usize], sent_ms: i64) {
        self.version += 1;
        self.symbols.mark_seen(places, sent_ms);
        if sent_ms < self.last.received_ms {
            return;
        }
        self.last.result = Some((batch.size, batch.unique, batch.efficiency(), batch.collected_ms));
        self.last.batch_ms = self.last.batch_ms.max(batch.collected_ms);
        self.last.received_ms = sent_ms;
        if batch.newest.real() > self.last.message_ms as f64 {
            self.last.message_ms = batch.newest.whole() as i64;
        }
    }

    /// Let no time be later than this.
    pub fn set_back(&mut self, now_ms: i64) {
        let Feed { counted_ms, last, freshness, quality, .. } = self;
        for time in [
            counted_ms,
            &mut last.received_ms,
            &mut freshness.last_sent_ms,
            &mut freshness.last_arrival_ms,
            &mut quality.recorded_ms,
            &mut quality.last_price_change_ms,
        ] {
            *time = (*time).min(now_ms);
        }
        self.symbols.set_back(now_ms);
    }
}
