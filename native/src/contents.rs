//! What is in the batches of a feed: whether it is complete and plausible, and when a price changed.

use std::cmp::Ordering;

use crate::MIN_TIMESTAMP_MS;
use crate::cells::Number;
use crate::measures::{Arrival, Measures};
use crate::symbols::{BACKWARDS_MS, MOVED};

// Beside what a pass over the rows finds, each a bit.
const SIZE_MISMATCH: u32 = 64;
const IMPLAUSIBLE_STAMP: u32 = 128;
const FUTURE_BATCH: u32 = 256;
const BATCH_TIME_BACKWARDS: u32 = 512;
const FUTURE_MESSAGE: u32 = 1024;
const UNCHANGED_BATCH: u32 = 2048;
const NO_PRICES: u32 = 4096;
const NO_STAMPS: u32 = 8192;

const FUTURE_MS: i64 = 10_000;
const ROWS: usize = 20;

/// How many rows in a row had no price, and how many no timestamp; see `Completeness` of Python.
pub struct Completeness {
    unpriced: usize,
    unstamped: usize,
}

impl Completeness {
    pub fn new() -> Self {
        Completeness { unpriced: ROWS, unstamped: ROWS }
    }

    pub fn observe(&mut self, batch: &Measures) -> u32 {
        if batch.size == 0 {
            return 0;
        }
        let has_stamps = batch.stamped > 0 || batch.implausible > 0;
        self.unpriced = if batch.is_priced { 0 } else { ROWS.min(self.unpriced + batch.size) };
        self.unstamped = if has_stamps { 0 } else { ROWS.min(self.unstamped + batch.size) };
        let mut found = 0;
        if self.unpriced == ROWS {
            found |= NO_PRICES;
        }
        if self.unstamped == ROWS {
            found |= NO_STAMPS;
        }
        found
    }
}

/// What a batch is compared with; see `Quality` of Python.
pub struct Quality {
    pub recorded_ms: i64,
    pub last_price_change_ms: i64,
    collected_ms: i64,
    newest: Number,
    stamp_sum: Number,
}

/// What is left to do with a batch once its order books are read.
pub struct Rest {
    pub moved: bool,
    newest: Number,
    stamp_sum: Number,
    has_trades: bool,
    arrival: Arrival,
}

impl Rest {
    pub fn is_live(&self) -> bool {
        self.arrival.is_live
    }

    pub fn is_replay(&self) -> bool {
        self.arrival.is_replay
    }

    pub fn new(batch: &Measures, arrival: Arrival, found: u32) -> Self {
        let (newest, stamp_sum, has_trades) = (batch.newest, batch.stamp_sum, batch.has_trades);
        Rest { moved: found & MOVED != 0, newest, stamp_sum, has_trades, arrival }
    }
}

impl Quality {
    pub fn new() -> Self {
        let zero = Number::ZERO;
        Quality { recorded_ms: 0, last_price_change_ms: 0, collected_ms: 0, newest: zero, stamp_sum: zero }
    }

    /// Return by how much a batch may go backwards: without end unless it was appended last.
    pub fn slack(&mut self, arrival: Arrival) -> f64 {
        if arrival.record_ms < self.recorded_ms {
            return f64::INFINITY;
        }
        self.recorded_ms = arrival.record_ms.min(arrival.received_ms);
        BACKWARDS_MS
    }

    pub fn examine(&mut self, batch: &Measures, arrival: Arrival, slack: f64) -> u32 {
        let horizon = arrival.received_ms.saturating_add(FUTURE_MS);
        let collected = batch.collected_ms;
        let before = std::mem::replace(&mut self.collected_ms, collected);
        let mut found = 0;
        let mut note = |holds: bool, bit: u32| found |= if holds { bit } else { 0 };
        note(batch.is_mismatched, SIZE_MISMATCH);
        note(batch.implausible > 0 || (0 < collected && collected < MIN_TIMESTAMP_MS), IMPLAUSIBLE_STAMP);
        note(collected > horizon, FUTURE_BATCH);
        note((collected as f64) < before as f64 - slack, BATCH_TIME_BACKWARDS);
        note(batch.newest.real() > horizon as f64, FUTURE_MESSAGE);
        found
    }

    /// Note whether a price changed, or whether the batch is that before, and return that as bits.
    pub fn conclude(&mut self, rest: &Rest) -> u32 {
        let Rest { newest, stamp_sum, has_trades, arrival, .. } = *rest;
        let order = newest.compare(self.newest);
        let mut found = 0;
        if rest.moved || (order == Ordering::Greater && has_trades) {
            let recorded = if arrival.record_ms == 0 { arrival.received_ms } else { arrival.record_ms };
            let changed = if arrival.is_live { arrival.received_ms } else { recorded.min(arrival.received_ms) };
            self.last_price_change_ms = self.last_price_change_ms.max(changed);
        } else if order == Ordering::Equal && newest.real() != 0.0 {
            let is_same = stamp_sum.compare(self.stamp_sum) == Ordering::Equal && !has_trades;
            found = if is_same { UNCHANGED_BATCH } else { 0 };
        }
        (self.newest, self.stamp_sum) = (newest, stamp_sum);
        found
    }
}
