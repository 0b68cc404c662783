//! Cells that are counted in: sums as exact as those of Python, histograms, and the durations of one stage.

use std::cmp::Ordering;
use std::collections::VecDeque;

use pyo3::prelude::*;

/// The skew of two clocks is the median of so many durations.
const RECENT_HOPS: usize = 7;

/// A number as Python has it: whole as long as all that is added is.
#[derive(Clone, Copy)]
pub enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    pub const ZERO: Number = Number::Whole(0);

    pub fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        match value.extract::<i128>() {
            Ok(whole) => Ok(Number::Whole(whole)),
            Err(_) => value.extract().map(Number::Real),
        }
    }

    pub fn real(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        }
    }

    /// The whole number next to it in the direction of 0.
    pub fn whole(self) -> i128 {
        match self {
            Number::Whole(whole) => whole,
            Number::Real(real) => real as i128,
        }
    }

    /// Compare two numbers, none of which is NaN.
    pub fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Whole(one), Number::Whole(another)) => one.cmp(&another),
            _ => self.real().total_cmp(&other.real()),
        }
    }

    pub fn plus(self, other: Number) -> Number {
        match (self, other) {
            (Number::Whole(one), Number::Whole(another)) => Number::Whole(one.wrapping_add(another)),
            _ => Number::Real(self.real() + other.real()),
        }
    }

    pub fn to_python<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Number::Whole(whole) => match i64::try_from(whole) {
                Ok(small) => small.into_pyobject(py)?.into_any(),
                Err(_) => whole.into_pyobject(py)?.into_any(),
            },
            Number::Real(real) => real.into_pyobject(py)?.into_any(),
        })
    }
}

/// Counts of values by bucket, one more than there are bounds, and the sum of the values.
pub struct Cells {
    pub counts: Vec<u64>,
    pub sum: Number,
}

impl Cells {
    pub fn new(bounds: &[f64]) -> Self {
        Cells { counts: vec![0; bounds.len() + 1], sum: Number::ZERO }
    }

    pub fn add(&mut self, bounds: &[f64], value: Number) {
        self.sum = self.sum.plus(value);
        self.count(bounds, value.real());
    }

    /// Count a value without adding it to the sum.
    pub fn count(&mut self, bounds: &[f64], value: f64) {
        if let Some(count) = self.counts.get_mut(bounds.partition_point(|&bound| bound < value)) {
            *count += 1;
        }
    }
}

/// The durations of one stage that are not negative, and how many others there are.
pub struct Hop {
    pub cells: Cells,
    pub skewed: u64,
    /// The last durations while one of them is negative; those that are not are 0 here.
    recent: Option<VecDeque<i128>>,
}

impl Hop {
    pub fn new(bounds: &[f64]) -> Self {
        Hop { cells: Cells::new(bounds), skewed: 0, recent: None }
    }

    pub fn add(&mut self, bounds: &[f64], taken_ms: i128) {
        if taken_ms >= 0 {
            self.cells.add(bounds, Number::Whole(taken_ms));
            if self.recent.is_none() {
                return;
            }
        } else {
            self.skewed += 1;
        }
        let recent = self.recent.get_or_insert_with(|| VecDeque::from([0; RECENT_HOPS]));
        recent.pop_front();
        recent.push_back(taken_ms.min(0));
        if recent.iter().all(|&taken| taken == 0) {
            self.recent = None;
        }
    }

    /// The least lag of the later clock behind the earlier one, in milliseconds.
    pub fn skew_ms(&self) -> i128 {
        let Some(recent) = &self.recent else { return 0 };
        let mut sorted: Vec<i128> = recent.iter().copied().collect();
        sorted.sort_unstable();
        -sorted.get(RECENT_HOPS / 2).copied().unwrap_or(0)
    }
}
