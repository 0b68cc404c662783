//! When a feed sends: stages between clocks, ages, intervals, and what is late.

use crate::MIN_TIMESTAMP_MS;
use crate::cells::{Cells, Hop, Number};
use crate::measures::{Arrival, Measures};

/// The stages of `exporter.analyzers.latency`, in its order.
pub struct Latency {
    pub collector: Hop,
    pub broker: Hop,
    pub sidecar: Hop,
    pub end: Hop,
    pub catch_up: u64,
    pub skipped: u64,
}

impl Latency {
    pub fn new(bounds: &[f64]) -> Self {
        let [collector, broker, sidecar, end] = std::array::from_fn(|_| Hop::new(bounds));
        Latency { collector, broker, sidecar, end, catch_up: 0, skipped: 0 }
    }

    pub fn hop(&self, stage: usize) -> Option<&Hop> {
        [&self.collector, &self.broker, &self.sidecar, &self.end].get(stage).copied()
    }

    pub fn observe(&mut self, bounds: &[f64], batch: &Measures, arrival: Arrival) {
        if !arrival.is_live {
            self.catch_up += 1;
            return;
        }
        self.skipped += batch.implausible as u64;
        let collected = self.plausible(batch.collected_ms);
        let recorded = self.plausible(arrival.record_ms);
        let received = i128::from(arrival.received_ms);
        if batch.stamped > 0 {
            let newest = batch.newest.whole();
            self.end.add(bounds, received - newest);
            if collected != 0 {
                self.collector.add(bounds, collected - newest);
            }
        }
        if recorded != 0 {
            self.sidecar.add(bounds, received - recorded);
            if collected != 0 {
                self.broker.add(bounds, recorded - collected);
            }
        }
    }

    /// Return a timestamp that can be a time, or 0.
    fn plausible(&mut self, stamp_ms: i64) -> i128 {
        if stamp_ms >= MIN_TIMESTAMP_MS {
            return stamp_ms.into();
        }
        self.skipped += u64::from(stamp_ms != 0);
        0
    }
}

/// The ages of messages when their batch was sent; `newer` ones have none.
pub struct Ages {
    pub cells: Cells,
    pub newer: u64,
}

/// The stamps of a batch, sorted; or their ages as Python counts them: by bucket, their sum, and how many are newer.
pub enum Stamps<'a> {
    Sorted(&'a [i64]),
    Counted(Vec<u64>, Number, u64),
}

impl Ages {
    pub fn observe(&mut self, bounds: &[f64], stamps: &Stamps<'_>, sent_ms: i64) {
        match stamps {
            Stamps::Sorted(sorted) => self.count(bounds, sorted, sent_ms),
            Stamps::Counted(counts, sum, newer) => {
                self.newer += newer;
                self.cells.sum = self.cells.sum.plus(*sum);
                for (count, more) in self.cells.counts.iter_mut().zip(counts) {
                    *count += more;
                }
            }
        }
    }

    fn count(&mut self, bounds: &[f64], sorted: &[i64], sent_ms: i64) {
        let (older, newer) = sorted.split_at(sorted.partition_point(|&stamp| stamp <= sent_ms));
        self.newer += newer.len() as u64;
        let mut sum = 0;
        for &stamp in older {
            let age = sent_ms - stamp;
            sum += i128::from(age);
            self.cells.count(bounds, age as f64);
        }
        self.cells.sum = self.cells.sum.plus(Number::Whole(sum));
    }
}

/// When a feed sent, and the intervals that are still to be learned.
pub struct Freshness {
    pub last_sent_ms: i64,
    pub last_arrival_ms: i64,
    pub record_ms: i64,
    pub intervals: Cells,
    pub pending: Vec<i64>,
}

impl Freshness {
    pub fn new(bounds: &[f64]) -> Self {
        let intervals = Cells::new(bounds);
        Freshness { last_sent_ms: 0, last_arrival_ms: 0, record_ms: 0, intervals, pending: Vec::new() }
    }

    pub fn observe(&mut self, bounds: &[f64], arrival: Arrival) {
        let Arrival { record_ms, received_ms, is_live, .. } = arrival;
        self.last_arrival_ms = received_ms;
        if !is_live {
            self.last_sent_ms = self.last_sent_ms.max(record_ms.min(received_ms));
            return;
        }
        self.last_sent_ms = received_ms;
        let stamp = if record_ms == 0 { received_ms } else { record_ms };
        let before = std::mem::replace(&mut self.record_ms, stamp);
        if before != 0 && stamp >= before {
            let interval = stamp.saturating_sub(before);
            self.intervals.add(bounds, Number::Whole(interval.into()));
            self.pending.push(interval);
        }
    }
}

/// Separates new data from a replay; see `EventTimeWatermark` of Python.
pub struct Watermark {
    pub late_ms: f64,
    at_ms: f64,
    received_ms: i64,
}

impl Watermark {
    pub fn new(late_ms: i64) -> Self {
        Watermark { late_ms: late_ms as f64, at_ms: 0.0, received_ms: 0 }
    }

    pub fn allow(&mut self, late_ms: i64) {
        if self.at_ms != 0.0 {
            self.at_ms += self.late_ms - late_ms as f64;
        }
        self.late_ms = late_ms as f64;
    }

    pub fn is_on_time(&mut self, event_time_ms: f64, received_ms: i64) -> bool {
        if event_time_ms < self.at_ms {
            return false;
        }
        self.received_ms = received_ms;
        let late_to_ms = event_time_ms.min(received_ms as f64) - self.late_ms;
        self.at_ms = self.at_ms.max(late_to_ms);
        true
    }

    pub fn turns_back(&mut self, event_time_ms: f64, received_ms: i64, patience_ms: i64) -> bool {
        let since = received_ms.saturating_sub(self.received_ms);
        if 0 <= since && since as f64 <= (patience_ms as f64).max(self.late_ms) {
            return false;
        }
        self.at_ms = event_time_ms.min(received_ms as f64) - self.late_ms;
        self.received_ms = received_ms;
        true
    }
}
