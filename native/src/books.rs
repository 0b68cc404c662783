//! The best levels of order books in the usual notation, and what is known of the books of one feed.
//!
//! The patterns are those of `exporter.analyzers.order_books`; a book that they do not match is left to Python.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::batch::{Row, Rows};

const CROSSED_BOOK: u32 = 16384;

/// The books of a large batch take turns.
const BOOKS_PER_BATCH: usize = 4;

/// What the first levels of a book are: prices and sizes of the best ask and bid, or the prices of a unit.
#[derive(Clone, Copy)]
pub enum Best {
    Levels { ask: (f64, f64), bid: (f64, f64) },
    Unit { ask: f64, bid: f64 },
}

impl Best {
    /// The prices of the best ask and bid.
    pub fn prices(self) -> (f64, f64) {
        match self {
            Best::Levels { ask, bid } => (ask.0, bid.0),
            Best::Unit { ask, bid } => (ask, bid),
        }
    }
}

/// The books of a feed, of at most `limit` symbols; `whole` and `turn` are as in Python.
pub struct Books {
    pub whole: f64,
    pub turn: usize,
    best: HashMap<Box<str>, (f64, f64), RandomState>,
}

/// What taking a book shows: whether a price moved, anomalies as bits, and whether the book counts as read.
pub struct Taken {
    pub moved: bool,
    pub bits: u32,
    pub is_read: bool,
}

impl Books {
    pub fn new() -> Self {
        Books { whole: 0.0, turn: 0, best: HashMap::default() }
    }

    pub fn has(&self, symbol: &str) -> bool {
        self.best.contains_key(symbol)
    }

    pub fn forget(&mut self, symbol: &str) {
        self.best.remove(symbol);
    }

    /// Return the rows whose turn it is, and the next turn.
    pub fn chosen<'a>(&self, books: &'a [u32]) -> (&'a [u32], usize) {
        if books.len() <= BOOKS_PER_BATCH {
            return (books, self.turn);
        }
        let start = self.turn % books.len();
        let end = books.len().min(start + BOOKS_PER_BATCH);
        (books.get(start..end).unwrap_or_default(), end)
    }

    /// Take the best levels of a book into account.
    pub fn compare(&mut self, symbol: &str, best: Best, limit: usize) -> Taken {
        match best {
            Best::Unit { ask, bid } => self.take(symbol, ask, bid, limit),
            Best::Levels { ask, bid } if ask.1 == 0.0 || bid.1 == 0.0 => {
                self.whole = f64::NEG_INFINITY;
                Taken { moved: true, bits: 0, is_read: false }
            }
            Best::Levels { ask, bid } => {
                self.whole += 1.0;
                self.take(symbol, ask.0, bid.0, limit)
            }
        }
    }

    pub fn take(&mut self, symbol: &str, ask: f64, bid: f64, limit: usize) -> Taken {
        let bits = if bid >= ask { CROSSED_BOOK } else { 0 };
        let is_read = self.whole >= 0.0;
        let has_room = self.best.len() < limit;
        let moved = match self.best.get_mut(symbol) {
            Some(before) if *before == (ask, bid) => false,
            Some(before) => {
                *before = (ask, bid);
                true
            }
            None => {
                if has_room {
                    self.best.insert(symbol.into(), (ask, bid));
                }
                true
            }
        };
        Taken { moved, bits, is_read }
    }
}

/// Return the best levels of a row in the usual notation.
pub fn best(rows: &Rows, row: &Row, text: &[u8]) -> Option<Best> {
    let spans = rows.levels.get(row.levels? as usize)?;
    let [asks, bids, units] =
        spans.map(|span| span.and_then(|(start, end)| text.get(start as usize..end as usize)).unwrap_or_default());
    if let Some((ask, bid)) = unit(units) {
        return Some(Best::Unit { ask, bid });
    }
    Some(Best::Levels { ask: level(asks)?, bid: level(bids)? })
}

/// Return the two numbers of the first level of a side.
fn level(side: &[u8]) -> Option<(f64, f64)> {
    let rest = opened(opened(side, b'[')?, b'[')?;
    let (price, rest) = number(blank_free(rest))?;
    let rest = rest.strip_prefix(b",")?;
    Some((price, number(blank_free(rest))?.0))
}

/// Return the prices of the first unit: ask and bid.
fn unit(units: &[u8]) -> Option<(f64, f64)> {
    let rest = opened(opened(units, b'[')?, b'{')?;
    let first = rest.split(|&byte| byte == b'}').next()?;
    let find = |names: [&[u8]; 2]| {
        let places = first.iter().enumerate().filter(|&(_, &byte)| byte == b'"').map(|(place, _)| place);
        places.filter_map(|place| rest.get(place..)).find_map(|from| names.iter().find_map(|name| value(from, name)))
    };
    Some((find([b"\"ap\"", b"\"ask_price\""])?, find([b"\"bp\"", b"\"bid_price\""])?))
}

/// Return the number of the field of this name, if that is what the text begins with.
fn value(text: &[u8], name: &[u8]) -> Option<f64> {
    let rest = blank_free(text.strip_prefix(name)?).strip_prefix(b":")?;
    number(blank_free(rest)).map(|(value, _)| value)
}

fn opened(text: &[u8], bracket: u8) -> Option<&[u8]> {
    blank_free(text).strip_prefix(&[bracket])
}

fn blank_free(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)).count();
    text.get(blanks..).unwrap_or_default()
}

/// Return the number that a text begins with, in quotes or not, and what is behind it: a comma or a closing bracket.
fn number(text: &[u8]) -> Option<(f64, &[u8])> {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    let whole = usize::from(text.first() == Some(&b'-'));
    let digits = digits_at(text, whole);
    if digits == 0 || digits > 40 {
        return None;
    }
    let mut end = whole + digits;
    if text.get(end) == Some(&b'.') {
        end += 1 + digits_at(text, end + 1);
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let digits = digits_at(text, end + 1 + sign);
        if !(1..=2).contains(&digits) {
            return None;
        }
        end += 1 + sign + digits;
    }
    let (spelled, rest) = text.split_at_checked(end)?;
    let rest = blank_free(rest.strip_prefix(b"\"").unwrap_or(rest));
    let value = std::str::from_utf8(spelled).ok()?.parse().ok()?;
    matches!(rest.first(), Some(b',' | b']' | b'}')).then_some((value, rest))
}

fn digits_at(text: &[u8], place: usize) -> usize {
    text.get(place..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}
