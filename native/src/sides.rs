//! The sides of order books as lists of levels, whatever shape collectors give them. Only the first level is looked at.

use crate::scan::{Scanner, Span};

const SIZES: [&[u8]; 5] = [b"qty", b"size", b"amount", b"quantity", b"volume"];
/// As deep as a level can be looked at.
const DEPTH: usize = 2;

/// Sides that are not in the record as they are needed; their places are those behind the record's `length` bytes.
pub struct Made {
    length: usize,
    pub text: Vec<u8>,
}

impl Made {
    pub fn new(length: usize) -> Self {
        Made { length, text: Vec::new() }
    }

    /// Return where a side of the record is as a list of levels; None where Python has to look at it.
    pub fn place(&mut self, record: &[u8], span: Span) -> Option<Span> {
        let side = record.get(span.0 as usize..span.1 as usize)?;
        let start = self.length + self.text.len();
        if !append_levels(side, &mut self.text)? {
            return Some(span);
        }
        let end = u32::try_from(self.length + self.text.len()).ok()?;
        Some((u32::try_from(start).ok()?, end))
    }
}

/// Append the side if it has to be written in another way, and return whether it was.
fn append_levels(side: &[u8], to: &mut Vec<u8>) -> Option<bool> {
    let mut bytes = side.iter().filter(|byte| **byte > b' ');
    match (bytes.next()?, bytes.next()) {
        (b'[', Some(b'{')) => {
            let Some((price, size)) = first_object(side)? else { return Some(false) };
            append_level(price, size, to);
        }
        (b'[', _) => return Some(false),
        (b'{', Some(b'}')) => to.extend_from_slice(b"[]"),
        (b'{', _) => {
            let Some((price, size)) = first_field(side)? else { return Some(false) };
            append_level(price, size, to);
        }
        (b'n', _) => return Some(false),
        _ => append_level(scalar(&mut Scanner::new(side, DEPTH)?)??, b"1", to),
    }
    Some(true)
}

fn append_level(price: &[u8], size: &[u8], to: &mut Vec<u8>) {
    for part in [b"[[", price, b",", size, b"]]"] {
        to.extend_from_slice(part);
    }
}

/// Return price and size of the first of some objects, if it has both.
fn first_object(side: &[u8]) -> Option<Option<(&[u8], &[u8])>> {
    let mut scanner = Scanner::new(side, DEPTH)?;
    let (mut price, mut size) = (None, None);
    scanner.open(b'[')?;
    scanner.object(|scanner, name| {
        let value = scalar(scanner)??;
        if name.iter().chain(value).any(|byte| matches!(byte, b'{' | b'}')) {
            return None;
        }
        if name == b"price" {
            price = price.or(Some(value));
        } else if SIZES.contains(&name) {
            size = size.or(Some(value));
        }
        Some(())
    })?;
    Some(price.zip(size))
}

/// Return the first name of an object, with its quotes, and its value, unless that has values of its own.
fn first_field(side: &[u8]) -> Option<Option<(&[u8], &[u8])>> {
    let mut scanner = Scanner::new(side, DEPTH)?;
    scanner.open(b'{')?;
    let (start, end) = scanner.plain_text()?;
    scanner.open(b':')?;
    let name = scanner.slice((start - 1, end + 1));
    Some(scalar(&mut scanner)?.map(|value| (name, value)))
}

/// Return a value as it is spelled, Some(None) for one that has values of its own; None where escapes are in it.
fn scalar<'a>(scanner: &mut Scanner<'a>) -> Option<Option<&'a [u8]>> {
    match scanner.next()? {
        b'[' | b'{' => Some(None),
        b'"' => {
            let (start, end) = scanner.plain_text()?;
            Some(Some(scanner.slice((start - 1, end + 1))))
        }
        _ => {
            let span = scanner.skip()?;
            Some(Some(scanner.slice(span)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::append_levels;

    #[test]
    fn sides_of_each_shape_are_lists_of_levels() {
        for (side, levels) in [
            (r#"{"126.5": 688.6, "127": 1}"#, r#"[["126.5",688.6]]"#),
            ("{ }", "[]"),
            ("126.5", "[[126.5,1]]"),
            (r#"[{"qty": "3", "other": null, "price": 126.5}]"#, r#"[[126.5,"3"]]"#),
        ] {
            let mut made = Vec::new();
            assert_eq!(append_levels(side.as_bytes(), &mut made), Some(true), "{side}");
            assert_eq!(made, levels.as_bytes());
        }
        for side in ["[[1, 2]]", "[ ]", "null", "[1]", r#"[{"price": 1}]"#, r#"{"a": [1]}"#] {
            assert_eq!(append_levels(side.as_bytes(), &mut Vec::new()), Some(false), "{side}");
        }
    }
}
