//! What is asked of a batch as a whole, whichever core decoded it.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::MIN_TIMESTAMP_MS;
use crate::batch::Batch;
use crate::cells::Number;
use crate::stages::Stamps;
use crate::symbols::Content;

/// Numbers of one batch; see `BatchStats` of Python.
pub struct Measures<'a> {
    pub size: usize,
    pub unique: usize,
    /// Whether the collector declared another number of messages.
    pub is_mismatched: bool,
    pub collected_ms: i64,
    pub stamped: usize,
    pub implausible: usize,
    /// The newest plausible stamp, 0 without one, and the sum of all of them.
    pub newest: Number,
    pub stamp_sum: Number,
    pub is_priced: bool,
    pub has_trades: bool,
    pub ages: Stamps<'a>,
}

impl<'a> Measures<'a> {
    /// `bounds` are those of the ages of messages.
    pub fn of(stats: &'a Bound<'_, PyAny>, content: &Content<'a, '_>, bounds: &[f64]) -> PyResult<Self> {
        match content {
            Content::Native(batch) => Ok(Self::of_native(batch.get(), stats.py())),
            Content::Python(..) => Self::of_python(stats, bounds),
        }
    }

    pub fn of_native(batch: &'a Batch, py: Python<'_>) -> Self {
        let size = batch.content.rows.len();
        let sum: i128 = batch.sorted.iter().map(|&stamp| i128::from(stamp)).sum();
        Measures {
            size,
            unique: batch.content.unique(),
            is_mismatched: batch.declared.is_some_and(|declared| declared != size as i64),
            collected_ms: batch.timestamp_ms,
            stamped: batch.sorted.len(),
            implausible: batch.implausible,
            newest: Number::Whole(batch.sorted.last().copied().unwrap_or(0).into()),
            stamp_sum: Number::Whole(sum),
            is_priced: batch.is_priced(py),
            has_trades: batch.content.has_trades(),
            ages: Stamps::Sorted(&batch.sorted),
        }
    }

    fn of_python(stats: &Bound<'_, PyAny>, bounds: &[f64]) -> PyResult<Self> {
        let py = stats.py();
        let batch = stats.getattr(intern!(py, "batch"))?;
        let result = stats.getattr(intern!(py, "result"))?;
        let size: usize = result.get_item(0)?.extract()?;
        let declared = batch.getattr(intern!(py, "batch_size"))?;
        let collected_ms = batch.getattr(intern!(py, "timestamp_ms"))?.extract()?;
        let stamped = stats.getattr(intern!(py, "stamped"))?.extract()?;
        Ok(Measures {
            size,
            unique: result.get_item(1)?.extract()?,
            is_mismatched: !declared.is_none() && declared.ne(size)?,
            collected_ms,
            stamped,
            implausible: stats.getattr(intern!(py, "implausible"))?.extract()?,
            newest: Number::of(&stats.getattr(intern!(py, "newest"))?)?,
            stamp_sum: Number::of(&stats.getattr(intern!(py, "stamp_sum"))?)?,
            is_priced: stats.getattr(intern!(py, "is_priced"))?.extract()?,
            has_trades: stats.getattr(intern!(py, "has_trades"))?.extract()?,
            ages: Self::python_ages(stats, if stamped > 0 { collected_ms } else { 0 }, bounds)?,
        })
    }

    /// Return the ages of messages, none for a batch that was sent at no time.
    fn python_ages(stats: &Bound<'_, PyAny>, sent_ms: i64, bounds: &[f64]) -> PyResult<Stamps<'a>> {
        let counts = vec![0u64; bounds.len() + 1];
        if sent_ms < MIN_TIMESTAMP_MS {
            return Ok(Stamps::Counted(counts, Number::ZERO, 0));
        }
        let counts = PyList::new(stats.py(), counts)?;
        let found = stats.call_method1(intern!(stats.py(), "count_ages"), (sent_ms, bounds.to_vec(), &counts))?;
        let sum = Number::of(&found.get_item(0)?)?;
        Ok(Stamps::Counted(counts.extract()?, sum, found.get_item(1)?.extract()?))
    }

    pub fn efficiency(&self) -> f64 {
        if self.unique == 0 { 0.0 } else { 1.0 / self.unique as f64 }
    }

    /// The newest stamp, or the time of the batch without one.
    pub fn event_time_ms(&self) -> Number {
        if self.newest.real() == 0.0 { Number::Whole(self.collected_ms.into()) } else { self.newest }
    }
}

/// When a batch was recorded and analyzed, in Unix milliseconds; see `Arrival` of Python.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub record_ms: i64,
    pub received_ms: i64,
    pub is_live: bool,
    pub is_replay: bool,
}
