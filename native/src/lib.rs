//! The native core: what the sidecar does for each message. The same in Python is the reference and the fallback.
//!
//! What is decoded here and what is found in it equal what Python decodes and finds, to the bit; tests/test_cores.py
//! compares both. There is no `unsafe`, and a panic is caught where it could reach Python.

mod avro;
mod batch;
mod books;
mod cells;
mod contents;
mod feed;
mod fields;
mod formats;
mod guard;
mod lane;
mod measures;
mod names;
mod numbers;
mod plan;
mod reader;
mod scan;
mod sides;
mod stages;
mod symbols;
mod tally;

/// The first and the last time that a timestamp may be: the year 2000, and the end of 9999.
pub const MIN_TIMESTAMP_MS: i64 = 946_684_800_000;
pub const MAX_TIMESTAMP_MS: i64 = 253_402_300_799_999;

#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::avro::batch_body;
    #[pymodule_export]
    use crate::batch::{Batch, Books, Factories};
    #[pymodule_export]
    use crate::feed::Bounds;
    #[pymodule_export]
    use crate::formats::FormatReader;
    #[pymodule_export]
    use crate::guard::faults;
    #[pymodule_export]
    use crate::lane::{Events, Lane, Window};
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::symbols::Symbols;
    #[pymodule_export]
    use crate::tally::Tally;
}
