//! Decodes records of a configured format that are plainly valid, and leaves the others to Python.

use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::batch::{Batch, Factories, Row, Rows};
use crate::fields::{Value, first};
use crate::guard::guarded;
use crate::plan::{Plan, Target};
use crate::reader::{EXPECTED_ROWS, Limits, Memory, sorted_stamps};
use crate::scan::Scanner;
use crate::sides::Made;

/// A decoder of the records of one format within limits, for one thread.
#[pyclass(module = "exporter.core._native")]
pub struct FormatReader {
    plan: Plan,
    limits: Limits,
    make: Py<Factories>,
    memory: Memory,
}

#[pymethods]
impl FormatReader {
    /// `format` is one as `exporter.decoding.formats.native` states it.
    #[new]
    fn new(
        format: Bound<'_, PyAny>,
        record_bytes: usize,
        messages: usize,
        depth: usize,
        make: Py<Factories>,
    ) -> PyResult<Self> {
        let plan = Plan::new(format.extract()?).ok_or_else(|| PyValueError::new_err("no such format"))?;
        let limits = Limits { record_bytes, messages, depth };
        Ok(FormatReader { plan, limits, make, memory: Memory::default() })
    }

    /// Return the batch of a record that is plainly valid, None for any other, and for control messages.
    ///
    /// `outside` are the texts that are in no field, by their numbers in the format; `record_ms` is the record's time.
    fn read<'py>(
        &mut self,
        py: Python<'py>,
        value: &Bound<'py, PyBytes>,
        record_ms: i64,
        outside: Vec<String>,
    ) -> PyResult<Option<Bound<'py, Batch>>> {
        match guarded(|| self.decode(py, value, record_ms, &outside)) {
            Some(found) => found.map(|batch| Bound::new(py, batch)).transpose(),
            None => {
                self.memory = Memory::default();
                Ok(None)
            }
        }
    }
}

impl FormatReader {
    fn decode(
        &mut self,
        py: Python<'_>,
        value: &Bound<'_, PyBytes>,
        record_ms: i64,
        outside: &[String],
    ) -> Option<Batch> {
        let text = value.as_bytes();
        let FormatReader { plan, limits, memory, make } = self;
        if text.len() > limits.record_bytes {
            return None;
        }
        memory.begin();
        let (rows, made) = (Rows::new(EXPECTED_ROWS.min(limits.messages)), Made::new(text.len()));
        let mut reading = Reading { py, text, plan, outside, memory, messages: limits.messages, rows, made };
        let found = reading.record(limits.depth)?;
        let Reading { rows: content, made, .. } = reading;

        let timestamp_ms = plan.time_ms(&found, &content.rows, record_ms)?;
        let declared = plan.declared(&found)?;
        let [region, exchange, request_type] = plan.feed(&found, outside)?;
        let key = memory.feed(py, (&*region, &*exchange, &*request_type), make)?;
        let (sorted, implausible) = sorted_stamps(&content.rows);
        let value = match made.text.as_slice() {
            [] => value.clone().unbind(),
            more => PyBytes::new(py, &[text, more].concat()).unbind(),
        };
        let make = make.clone_ref(py);
        Some(Batch { content, key, timestamp_ms, declared, sorted, implausible, value, make, books: Mutex::new(None) })
    }
}

/// One record while it is read.
struct Reading<'a, 'm, 'py> {
    py: Python<'py>,
    text: &'a [u8],
    plan: &'a Plan,
    outside: &'a [String],
    memory: &'m mut Memory,
    messages: usize,
    rows: Rows,
    made: Made,
}

impl<'a> Reading<'a, '_, '_> {
    /// Read all rows, and return what is found beside them.
    fn record(&mut self, depth: usize) -> Option<Vec<Value<'a>>> {
        let (plan, outside) = (self.plan, self.outside);
        let mut scanner = Scanner::new(self.text, depth)?;
        let mut found = vec![Value::Absent; plan.outer.size];
        let mut later = None;
        if plan.is_list {
            self.list(&mut scanner, &plan.request_type(&found, outside)?)?;
        } else {
            plan.outer.read(&mut scanner, &mut found, &mut |scanner, found| {
                if let Some(kind) = plan.known_type(found, outside) {
                    return self.list(scanner, &kind);
                }
                later = Some(scanner.clone());
                scanner.skip().map(drop)
            })?;
        }
        if !scanner.is_at_end() || plan.may_be_skipped(&found) {
            return None;
        }
        match later {
            Some(mut scanner) => self.list(&mut scanner, &plan.request_type(&found, outside)?)?,
            None if plan.is_row && self.messages > 0 => self.row(&found, &plan.request_type(&found, outside)?)?,
            None if plan.lacks_rows(&found) => return None,
            None => {}
        }
        Some(found)
    }

    fn list(&mut self, scanner: &mut Scanner<'a>, request_type: &str) -> Option<()> {
        let mut found = vec![Value::Absent; self.plan.inner.size];
        scanner.array(|scanner| {
            if self.rows.rows.len() == self.messages {
                return None;
            }
            found.fill(Value::Absent);
            self.plan.inner.read(scanner, &mut found, &mut |_, _| None)?;
            self.row(&found, request_type)
        })
    }

    fn row(&mut self, found: &[Value<'a>], request_type: &str) -> Option<()> {
        let plan = self.plan;
        let mut row = Row::new();
        for field in &plan.values {
            if field.is_for(request_type) {
                self.place(&field.target, first(found, &field.slots), &mut row)?;
            }
        }
        let symbol = plan.symbol.text(found, self.outside)?;
        row.symbol = self.memory.place(self.py, symbol.as_bytes(), &mut self.rows)?;
        self.rows.rows.push(row);
        Some(())
    }

    fn place(&mut self, target: &Target, value: Value<'_>, row: &mut Row) -> Option<()> {
        let number = match (target, value) {
            (_, Value::Absent) => return Some(()),
            (Target::Stamp(_), Value::Null) => {
                row.has_null_stamp = true;
                return Some(());
            }
            (Target::Stamp(unit), value) => unit.milliseconds(value)? as f64,
            (Target::Side(side), Value::Levels(span)) => {
                let span = self.made.place(self.text, span)?;
                return self.add_side(*side, span, row);
            }
            (Target::Side(side), Value::NoLevels(span))
            | (Target::Units(side), Value::Levels(span) | Value::NoLevels(span)) => {
                return self.add_side(*side, span, row);
            }
            (_, Value::Null) => return Some(()),
            (_, Value::Number(number)) => number,
            _ => return None,
        };
        match target {
            Target::Stamp(_) => row.stamp = number,
            Target::Last => row.last = number,
            Target::High => row.high = number,
            Target::Low => row.low = number,
            Target::Price => row.price = number,
            Target::Side(_) | Target::Units(_) => return None,
        }
        Some(())
    }

    fn add_side(&mut self, side: usize, span: (u32, u32), row: &mut Row) -> Option<()> {
        let levels = &mut self.rows.levels;
        let index = *row.levels.get_or_insert(levels.len() as u32) as usize;
        if index == levels.len() {
            levels.push([None; 3]);
        }
        *levels.get_mut(index)?.get_mut(side)? = Some(span);
        Some(())
    }
}
