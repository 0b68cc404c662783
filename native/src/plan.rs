//! A configured format, as records are read by it: where each text and each field of a row is.

use std::borrow::Cow;
use std::collections::HashMap;

use pyo3::prelude::*;

use crate::MAX_TIMESTAMP_MS;
use crate::batch::{LEVELS, Row};
use crate::fields::{Fields, Kind, Value, first};

/// Beyond these a double does not hold all whole numbers.
const MOST_EXACT: i64 = 1 << 53;
/// Seconds as a double are exact to a quarter of a microsecond: so much is added before they are cut off.
const INEXACT_MS: f64 = 0.0005;

/// A text: always the same, among those given with the record, or in the first of some slots.
#[derive(FromPyObject)]
pub struct Word {
    constant: Option<String>,
    outside: Option<usize>,
    slots: Vec<usize>,
    default: Option<String>,
    map: HashMap<String, String>,
    case: Option<String>,
}

/// A field of a row and the slots that may have it.
#[derive(FromPyObject)]
pub struct Named {
    name: String,
    slots: Vec<usize>,
    only: Vec<String>,
    unit: String,
}

/// A format, as `exporter.decoding.formats.native` states it.
#[derive(FromPyObject)]
pub struct Stated {
    outer: Vec<(String, String)>,
    outer_array: Vec<String>,
    inner: Vec<(String, String)>,
    array: Vec<String>,
    allows_text: bool,
    is_list: bool,
    has_rows: bool,
    region: Word,
    exchange: Word,
    request_type: Word,
    symbol: Word,
    values: Vec<Named>,
    skip: Vec<(usize, Vec<String>)>,
    time: Option<Named>,
    newest: bool,
    batch_size: Option<usize>,
}

/// What of a row a field is.
pub enum Target {
    Stamp(Unit),
    Last,
    High,
    Low,
    Price,
    /// By its place in `LEVELS`; units are kept as they are.
    Side(usize),
    Units(usize),
}

pub struct Field {
    pub target: Target,
    pub slots: Vec<usize>,
    only: Vec<String>,
}

/// What a time is counted in.
#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Milliseconds,
    /// So many of it are a millisecond.
    Parts(i64),
}

pub struct Plan {
    pub outer: Fields,
    pub inner: Fields,
    /// The record is a list of rows, or one row; otherwise a field has the rows.
    pub is_list: bool,
    pub is_row: bool,
    region: Word,
    exchange: Word,
    kind: Word,
    pub symbol: Word,
    pub values: Vec<Field>,
    /// Fields are for some request types only.
    is_limited: bool,
    skip: Vec<(usize, Vec<String>)>,
    time: Option<(Vec<usize>, Unit)>,
    newest: bool,
    batch_size: Option<usize>,
    rows_slot: Option<usize>,
}

impl Plan {
    pub fn new(stated: Stated) -> Option<Self> {
        let kinds = |paths: Vec<(String, String)>| -> Option<Vec<(String, Kind)>> {
            paths.into_iter().map(|(path, kind)| Some((path, kind_of(&kind)?))).collect()
        };
        let values: Option<Vec<Field>> = stated.values.into_iter().map(Field::new).collect();
        let values = values?;
        let time = match stated.time {
            Some(time) => Some((time.slots, unit_of(&time.unit)?)),
            None => None,
        };
        let rows_slot = stated.outer.iter().position(|(_, kind)| kind == "rows");
        Some(Plan {
            outer: Fields::new(kinds(stated.outer)?, &stated.outer_array, stated.allows_text),
            inner: Fields::new(kinds(stated.inner)?, &stated.array, stated.allows_text),
            is_list: stated.is_list,
            is_row: !stated.has_rows,
            region: stated.region,
            exchange: stated.exchange,
            kind: stated.request_type,
            symbol: stated.symbol,
            is_limited: values.iter().any(|field| !field.only.is_empty()),
            values,
            skip: stated.skip,
            time,
            newest: stated.newest,
            batch_size: stated.batch_size,
            rows_slot,
        })
    }

    /// Return the kind of data.
    pub fn request_type<'a>(&'a self, found: &[Value<'a>], outside: &'a [String]) -> Option<Cow<'a, str>> {
        self.kind.required(found, outside)
    }

    /// Return region, exchange and kind of data.
    pub fn feed<'a>(&'a self, found: &[Value<'a>], outside: &'a [String]) -> Option<[Cow<'a, str>; 3]> {
        Some([
            self.region.required(found, outside)?,
            self.exchange.required(found, outside)?,
            self.kind.required(found, outside)?,
        ])
    }

    /// Return the number of rows that the record declares, Some(None) for one that declares none.
    pub fn declared(&self, found: &[Value<'_>]) -> Option<Option<i64>> {
        match self.batch_size.and_then(|slot| found.get(slot)) {
            None | Some(Value::Absent | Value::Null) => Some(None),
            Some(Value::Whole(size)) => Some(Some(*size)),
            Some(_) => None,
        }
    }

    /// Whether the field of the rows was not met.
    pub fn lacks_rows(&self, found: &[Value<'_>]) -> bool {
        self.rows_slot.is_some_and(|slot| matches!(found.get(slot), Some(Value::Absent)))
    }

    /// Return the kind of data if it is known before the rest of the record, or does not matter.
    pub fn known_type<'a>(&'a self, found: &[Value<'a>], outside: &'a [String]) -> Option<Cow<'a, str>> {
        let is_known = match self.kind.slots.first() {
            Some(&slot) => matches!(found.get(slot), Some(Value::Text(_))),
            None => true,
        };
        match (is_known, self.is_limited) {
            (true, _) => self.kind.required(found, outside),
            (false, true) => None,
            (false, false) => Some(Cow::Borrowed("")),
        }
    }

    /// Whether the record may be a control message.
    pub fn may_be_skipped(&self, found: &[Value<'_>]) -> bool {
        self.skip.iter().any(|(slot, wanted)| match found.get(*slot) {
            Some(Value::Absent) => false,
            Some(Value::Text(text)) => wanted.iter().any(|word| word == text || word == "*"),
            _ => true,
        })
    }

    /// Return the time of the batch; `record_ms` is that of the record.
    pub fn time_ms(&self, found: &[Value<'_>], rows: &[Row], record_ms: i64) -> Option<i64> {
        if let Some((slots, unit)) = &self.time {
            let ms = unit.milliseconds(first(found, slots))?;
            return (1..=MAX_TIMESTAMP_MS).contains(&ms).then_some(ms);
        }
        let newest = rows.iter().map(|row| row.stamp as i64).max().filter(|_| self.newest);
        Some(newest.filter(|ms| (1..=MAX_TIMESTAMP_MS).contains(ms)).unwrap_or(record_ms.max(0)))
    }
}

impl Word {
    /// Return the word of a feed.
    fn required<'a>(&'a self, found: &[Value<'a>], outside: &'a [String]) -> Option<Cow<'a, str>> {
        let is_nowhere = || {
            let nothing = |slot: &usize| matches!(found.get(*slot), Some(Value::Absent | Value::Null));
            self.slots.iter().all(nothing)
        };
        match self.text(found, outside) {
            Some(text) => (self.slots.is_empty() || !text.is_empty()).then_some(text),
            None if is_nowhere() => self.default.as_deref().map(Cow::Borrowed),
            None => None,
        }
    }

    /// Return the text of a record that has it.
    pub fn text<'a>(&'a self, found: &[Value<'a>], outside: &'a [String]) -> Option<Cow<'a, str>> {
        if let Some(constant) = &self.constant {
            return Some(Cow::Borrowed(constant));
        }
        if let Some(place) = self.outside {
            return outside.get(place).map(|text| Cow::Borrowed(text.as_str()));
        }
        let text = self.slots.iter().find_map(|&slot| match found.get(slot) {
            Some(Value::Text(text)) => Some(*text),
            _ => None,
        })?;
        let text = self.map.get(text).map_or(text, |renamed| renamed);
        match self.case.as_deref() {
            None => Some(Cow::Borrowed(text)),
            // Of other letters Python may know other cases.
            Some(_) if !text.is_ascii() => None,
            Some("lower") => Some(Cow::Owned(text.to_ascii_lowercase())),
            Some(_) => Some(Cow::Owned(text.to_ascii_uppercase())),
        }
    }
}

impl Field {
    fn new(named: Named) -> Option<Self> {
        let target = match &*named.name {
            "timestamp" => Target::Stamp(unit_of(&named.unit)?),
            "last" => Target::Last,
            "high" => Target::High,
            "low" => Target::Low,
            "price" => Target::Price,
            name => {
                let place = LEVELS.iter().position(|side| *side == name.as_bytes())?;
                if name == "units" { Target::Units(place) } else { Target::Side(place) }
            }
        };
        Some(Field { target, slots: named.slots, only: named.only })
    }

    /// Whether it is read for a request type.
    pub fn is_for(&self, request_type: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == request_type)
    }
}

impl Unit {
    /// Return whole Unix milliseconds that a double holds, too.
    pub fn milliseconds(self, value: Value<'_>) -> Option<i64> {
        let ms = match (self, value) {
            (Unit::Milliseconds, Value::Whole(whole)) => whole,
            (Unit::Seconds, Value::Whole(whole)) => whole.checked_mul(1000)?,
            (Unit::Parts(parts), Value::Whole(whole)) => whole / parts,
            (Unit::Seconds, Value::Number(number)) if number > 0.0 => (number * 1000.0 + INEXACT_MS) as i64,
            (Unit::Parts(parts), Value::Number(number)) if number > 0.0 => (number / parts as f64 + INEXACT_MS) as i64,
            _ => return None,
        };
        (0..=MOST_EXACT).contains(&ms).then_some(ms)
    }
}

fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "text" => Kind::Text,
        "number" => Kind::Number,
        "stamp" => Kind::Stamp,
        "time" => Kind::Time,
        "levels" => Kind::Levels,
        "rows" => Kind::Rows,
        _ => return None,
    })
}

fn unit_of(name: &str) -> Option<Unit> {
    Some(match name {
        "s" => Unit::Seconds,
        "ms" | "iso8601" => Unit::Milliseconds,
        "us" => Unit::Parts(1000),
        "ns" => Unit::Parts(1_000_000),
        _ => return None,
    })
}
