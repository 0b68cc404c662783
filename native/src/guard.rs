//! Keeps a panic, which no input should cause, from whatever called the core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

static FAULTS: AtomicU64 = AtomicU64::new(0);

/// Return what the work returns, and None after a panic in it, which is counted.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).inspect_err(|_| _ = FAULTS.fetch_add(1, Ordering::Relaxed)).ok()
}

/// How often the core failed in this process where it should not.
#[pyo3::pyfunction]
pub fn faults() -> u64 {
    FAULTS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::{faults, guarded};

    #[test]
    #[allow(clippy::panic)]
    fn a_panic_is_counted_and_goes_no_further() {
        assert_eq!((guarded(|| 1), faults()), (Some(1), 0));
        assert_eq!((guarded(|| -> u8 { panic!("as planned") }), faults()), (None, 1));
    }
}
