//! The body of a batch event in Avro: its fields one after another.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The longest encoding of a 64-bit integer.
const LONG_BYTES: usize = 10;

/// Return the body; `head` and `names` are the texts before the numbers, encoded.
#[pyfunction]
pub fn batch_body<'py>(
    py: Python<'py>,
    head: &[u8],
    names: &[u8],
    numbers: (i64, i64, f64, i64),
) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &encoded(head, names, numbers))
}

/// As `batch_body`.
pub fn encoded(head: &[u8], names: &[u8], numbers: (i64, i64, f64, i64)) -> Vec<u8> {
    let (size, unique, efficiency, collected_ms) = numbers;
    let mut body = Vec::with_capacity(head.len() + names.len() + 8 + 3 * LONG_BYTES);
    body.extend_from_slice(head);
    body.extend_from_slice(names);
    append_long(&mut body, size);
    append_long(&mut body, unique);
    body.extend_from_slice(&efficiency.to_le_bytes());
    append_long(&mut body, collected_ms);
    body
}

/// Append a 64-bit integer: zigzag, then seven bits a byte, lowest first.
fn append_long(body: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest > 0x7f {
        body.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    body.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::append_long;

    #[test]
    fn integers_are_encoded_as_the_specification_says() {
        let cases: [(i64, &[u8]); 6] =
            [(0, &[0]), (-1, &[1]), (1, &[2]), (-64, &[0x7f]), (64, &[0x80, 1]), (8192, &[0x80, 0x80, 1])];
        for (number, expected) in cases {
            let mut body = Vec::new();
            append_long(&mut body, number);
            assert_eq!(body, expected, "{number}");
        }
    }
}
