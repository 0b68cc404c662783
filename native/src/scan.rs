//! A scanner of JSON that accepts only what is plainly valid: whatever it refuses is left to Python's decoder.
//!
//! It is stricter than the decoder that it stands in for, never laxer: what it accepts has one meaning.

use crate::fields::Value;
use crate::numbers::{self, Number};

/// A part of the text, from its first byte up to the one after its last.
pub type Span = (u32, u32);

/// So many fields of objects in an array are remembered, so that those of the next one are expected.
const REMEMBERED_FIELDS: usize = 16;
#[derive(Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    depth_limit: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner of a text of at most 4 GiB that is UTF-8; deeper values than the limit are refused.
    pub fn new(text: &'a [u8], depth_limit: usize) -> Option<Self> {
        u32::try_from(text.len()).ok()?;
        if !text.is_ascii() {
            std::str::from_utf8(text).ok()?;
        }
        Some(Scanner { text, at: 0, depth: 0, depth_limit })
    }

    /// Return how many bytes are left.
    pub fn left(&self) -> usize {
        self.text.len().saturating_sub(self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Go to the next byte that is not blank, and return it.
    #[inline]
    pub fn next(&mut self) -> Option<u8> {
        match self.peek() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => {
                self.skip_blanks();
                self.peek()
            }
        }
    }

    /// Go behind a byte, if that is next.
    pub fn open(&mut self, byte: u8) -> Option<()> {
        if self.next()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn take_word(&mut self, word: &[u8]) -> Option<()> {
        if !self.text.get(self.at..)?.starts_with(word) {
            return None;
        }
        self.at += word.len();
        Some(())
    }

    fn deeper(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > self.depth_limit { None } else { Some(()) }
    }

    /// Read an object; `field` reads the value of the field that it gets.
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.open(b'{')?;
        self.deeper()?;
        if self.next()? == b'}' {
            self.at += 1;
        } else {
            loop {
                let name = self.plain_text()?;
                self.open(b':')?;
                field(self, self.slice(name))?;
                match self.next()? {
                    b',' => self.at += 1,
                    b'}' => break self.at += 1,
                    _ => return None,
                }
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Read an object that is probably like others: `before` has what is before each value of those, up to the colon,
    /// and the kind of the field; up to `remembered` fields are added there. `kind` returns that of a name, `field`
    /// reads the value of a field of a kind.
    pub fn object_like<K: Copy>(
        &mut self,
        before: &mut Vec<(&'a [u8], K)>,
        remembered: usize,
        kind: impl Fn(&[u8]) -> K,
        mut field: impl FnMut(&mut Self, K) -> Option<()>,
    ) -> Option<()> {
        self.open(b'{')?;
        self.deeper()?;
        if self.next()? == b'}' {
            self.at += 1;
        } else {
            for place in 0.. {
                let start = self.at;
                let rest = self.text.get(start..)?;
                let found = match before.get(place) {
                    Some((name, kind)) if begins_with(rest, name) => {
                        self.at += name.len();
                        *kind
                    }
                    _ => {
                        let name = self.plain_text()?;
                        self.open(b':')?;
                        kind(self.slice(name))
                    }
                };
                if place == before.len() && place < remembered {
                    before.push((self.text.get(start..self.at)?, found));
                }
                field(self, found)?;
                match self.next()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return None,
                }
            }
            self.at += 1;
        }
        self.depth -= 1;
        Some(())
    }

    /// Read an array; `item` reads each of its values.
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.open(b'[')?;
        self.deeper()?;
        if self.next()? == b']' {
            self.at += 1;
        } else {
            loop {
                item(self)?;
                match self.next()? {
                    b',' => self.at += 1,
                    b']' => break self.at += 1,
                    _ => return None,
                }
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// Return whether nothing is left.
    pub fn has_passed_all(&self) -> bool {
        self.at == self.text.len()
    }

    /// Return whether nothing but blanks is left.
    pub fn is_at_end(&mut self) -> bool {
        self.next().is_none()
    }

    pub fn slice(&self, (start, end): Span) -> &'a [u8] {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Read a text without escapes, and return where it is, without its quotes.
    pub fn plain_text(&mut self) -> Option<Span> {
        self.open(b'"')?;
        let start = self.at;
        let rest = self.text.get(start..)?;
        let length = plain_length(rest);
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        self.at = start + length + 1;
        Some((start as u32, (start + length) as u32))
    }

    /// Read a text without escapes.
    pub fn plain_str(&mut self) -> Option<&'a str> {
        let span = self.plain_text()?;
        std::str::from_utf8(self.slice(span)).ok()
    }

    /// Read a text with any escapes except those of halves of characters.
    fn skip_text(&mut self) -> Option<()> {
        self.open(b'"')?;
        loop {
            let rest = self.text.get(self.at..)?;
            let length = plain_length(rest);
            self.at += length + 1;
            match rest.get(length)? {
                b'"' => return Some(()),
                b'\\' => {}
                _ => return None,
            }
            match self.peek()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                b'u' => {
                    let digits = self.text.get(self.at + 1..self.at + 5)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) || is_surrogate(digits) {
                        return None;
                    }
                    self.at += 5;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<Number<'a>> {
        let (number, length) = Number::read(self.text.get(self.at..)?)?;
        self.at += length;
        Some(number)
    }

    /// Go behind a number as `number` reads it, without its value.
    fn skip_number(&mut self) -> Option<()> {
        match numbers::length(self.text.get(self.at..)?) {
            Some(length) => self.at += length,
            None => _ = self.number()?,
        }
        Some(())
    }

    /// Read a whole number from 0 on that any double holds exactly.
    pub fn whole(&mut self) -> Option<i64> {
        self.next()?;
        let (whole, length) = numbers::short_whole(self.text.get(self.at..)?)?;
        self.at += length;
        Some(whole)
    }

    /// Go behind null, if that is next.
    pub fn null(&mut self) -> Option<()> {
        if self.next()? == b'n' { self.take_word(b"null") } else { None }
    }

    /// Read null, or a whole number as `whole` does.
    pub fn whole_or_null(&mut self) -> Option<Option<i64>> {
        if self.next()? == b'n' { self.take_word(b"null").map(|()| None) } else { self.whole().map(Some) }
    }

    /// Read null, or a number as `double` does.
    pub fn double_or_null(&mut self) -> Option<Option<f64>> {
        if self.next()? == b'n' { self.take_word(b"null").map(|()| None) } else { self.double().map(Some) }
    }

    /// Read a number that is not negative, as the double that is nearest to it.
    #[inline]
    pub fn double(&mut self) -> Option<f64> {
        self.next()?;
        match numbers::short_double(self.text.get(self.at..)?) {
            Some((value, length)) => {
                self.at += length;
                Some(value)
            }
            None => self.number()?.double(),
        }
    }

    /// Read a time in any unit: a whole number of any length as such, and any other as `double` does.
    pub fn stamp<'v>(&mut self) -> Option<Value<'v>> {
        if let Some(whole) = self.whole() {
            return Some(Value::Whole(whole));
        }
        if let Some(whole) = self.clone().number().filter(|number| number.is_whole) {
            self.at += whole.length();
            return whole.held().map(Value::Whole);
        }
        self.double().map(Value::Number)
    }

    /// Go behind any value, and return where it is.
    pub fn skip(&mut self) -> Option<Span> {
        let first = self.next()?;
        let start = self.at;
        match first {
            b'{' => self.object(|scanner, _| scanner.skip().map(|_| ()))?,
            b'[' => {
                let mut before = Vec::new();
                self.array(|scanner| match scanner.next()? {
                    b'{' => scanner.object_like(
                        &mut before,
                        REMEMBERED_FIELDS,
                        |_| (),
                        |scanner, ()| scanner.skip().map(drop),
                    ),
                    _ => scanner.skip().map(drop),
                })?
            }
            b'"' => self.skip_text()?,
            b't' => self.take_word(b"true")?,
            b'f' => self.take_word(b"false")?,
            b'n' => self.take_word(b"null")?,
            _ => self.skip_number()?,
        }
        Some((start as u32, self.at as u32))
    }
}

/// Whether a text begins with another. Names of fields are short, so a call of the C library would take longer.
#[inline]
fn begins_with(text: &[u8], begin: &[u8]) -> bool {
    let Some(text) = text.get(..begin.len()) else { return false };
    match begin.len() {
        4..=8 => has_ends_of::<4>(text, begin),
        9..=16 => has_ends_of::<8>(text, begin),
        17..=32 => has_ends_of::<16>(text, begin),
        _ => text == begin,
    }
}

fn has_ends_of<const N: usize>(text: &[u8], other: &[u8]) -> bool {
    text.first_chunk::<N>() == other.first_chunk() && text.last_chunk::<N>() == other.last_chunk()
}

/// Return how many bytes there are before a quote, a backslash or a control character, eight of them at a time.
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let words = text.chunks_exact(8);
    let start = text.len() - words.remainder().len();
    for (index, bytes) in words.enumerate() {
        let Ok(bytes) = bytes.try_into() else { break };
        let word = u64::from_le_bytes(bytes);
        // The top bit of each byte that is zero, or below 0x20; bytes above such a one may be marked by mistake.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let escapes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let marks = (quotes | escapes | controls) & TOPS;
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let rest = text.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count()
}

fn is_surrogate(hex: &[u8]) -> bool {
    matches!(hex, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..])
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::Scanner;

    fn double(text: &str) -> Option<f64> {
        let mut scanner = Scanner::new(text.as_bytes(), 3)?;
        let value = scanner.double_or_null()??;
        if scanner.is_at_end() { Some(value) } else { None }
    }

    fn skips(text: &str, depth: usize) -> bool {
        Scanner::new(text.as_bytes(), depth).is_some_and(|mut scanner| scanner.skip().is_some() && scanner.is_at_end())
    }

    #[test]
    fn numbers_are_the_nearest_doubles() {
        for text in [
            "0",
            "0.1",
            "176695000.0",
            "0.0007809",
            "123456789012345.6789",
            "1.5e-9",
            "3e22",
            "3e23",
            "7.6E-7",
            "9007199254740993.0",
        ] {
            assert_eq!(double(text), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn numbers_of_any_length_are_read_alike_wherever_they_end() {
        let digits = "1234567890123456789";
        for (whole, places) in (1..digits.len()).flat_map(|whole| (0..digits.len()).map(move |places| (whole, places)))
        {
            let number = format!("{}.{}", &digits[..whole], &digits[..places]);
            let number = number.trim_end_matches('.');
            for exponent in ["", "e5", "E-07", "e+22"] {
                let number = format!("{number}{exponent}");
                let is_whole = places == 0 && exponent.is_empty();
                for end in ["", " ", ",", "]}"] {
                    let text = format!("{number}{end}");
                    let mut scanner = Scanner::new(text.as_bytes(), 3).unwrap_or_else(|| unreachable!());
                    let is_long = number.len() > 40;
                    let double = number.parse().ok().filter(|_| !(is_long || is_whole && whole > 18));
                    assert_eq!(scanner.clone().double(), double, "{text}");
                    let span = (0, number.len() as u32);
                    assert_eq!(scanner.clone().skip(), if is_long { None } else { Some(span) }, "{text}");
                    let is_exact = is_whole && whole <= 15;
                    assert_eq!(scanner.whole(), if is_exact { number.parse().ok() } else { None }, "{text}");
                }
            }
        }
        for text in ["01,", "00.5,", "1.,", ".5,", "1e,", "1e123,", "1e+,", "-,", "+1,", ","] {
            let scanner = Scanner::new(text.as_bytes(), 3).unwrap_or_else(|| unreachable!());
            assert_eq!((scanner.clone().double(), scanner.clone().skip(), scanner.clone().whole()), (None, None, None));
        }
    }

    #[test]
    fn texts_begin_with_others_of_any_length() {
        let text = b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
        for length in 0..text.len() {
            let begin = &text[..length];
            assert!(super::begins_with(text, begin) && super::begins_with(begin, begin));
            assert!(!super::begins_with(begin, text));
            for place in 0..length {
                let mut other = begin.to_vec();
                other[place] ^= 1;
                assert!(!super::begins_with(text, &other), "{length} {place}");
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        for text in ["-1", "01", "1.", ".5", "1e999", "1e", "+1", "NaN", "1 2", "\"1\"", "true", "12345678901234567890"]
        {
            assert_eq!(double(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_skipped_as_deep_as_is_allowed() {
        assert!(skips(r#"{"a": [1, {"b": "\u00e9\n"}, null, true, false]}"#, 3));
        assert!(!skips(r#"{"a": [1, {"b": 2}]}"#, 2));
        for text in ["0", "-0.5", "10.25e-7", "1E+20", "[1,2.5 ,3]"] {
            assert!(skips(text, 1), "{text}");
        }
        for text in [
            "-",
            "01",
            "1.",
            "1.e5",
            ".5",
            "1e",
            "1e+",
            "1e999",
            "[1 2]",
            "--1",
            r#"{"a":}"#,
            "[1,]",
            r#""\ud800""#,
            r#""\q""#,
            "\"a\nb\"",
            "[1",
            "nul",
            "tru e",
            "{\"a\" 1}",
        ] {
            assert!(!skips(text, 9), "{text}");
        }
    }
}
