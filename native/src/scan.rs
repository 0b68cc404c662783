//! A scanner of JSON that accepts only what is plainly valid: whatever it refuses is left to Python's decoder.
//!
//! It is stricter than the decoder that it stands in for, never laxer: what it accepts has one meaning.

use crate::fields::Value;

/// A part of the text, from its first byte up to the one after its last.
pub type Span = (u32, u32);

const LONGEST_NUMBER: usize = 40;
/// So many fields of objects in an array are remembered, so that those of the next one are expected.
const REMEMBERED_FIELDS: usize = 16;
/// So many digits of a number any double holds, and any u64.
const EXACT_DIGITS: usize = 15;
const HELD_DIGITS: usize = 19;
/// Powers of ten that a double holds exactly: the quotient of two exact numbers is rounded once, as it has to be.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// One number as it is spelled.
#[derive(Default)]
struct Number {
    is_negative: bool,
    /// All digits without the point, of which there are `count`; it overflows beyond `HELD_DIGITS`.
    digits: u64,
    count: usize,
    /// The power of ten that the digits are to be multiplied with.
    exponent: i32,
    is_whole: bool,
}

impl Number {
    /// Return the nearest double of a number that is not negative; `spelled` is the number as it is written.
    fn double(&self, spelled: &[u8]) -> Option<f64> {
        if self.is_negative {
            return None;
        }
        if self.count <= EXACT_DIGITS {
            let power = POWERS.get(self.exponent.unsigned_abs() as usize);
            if let Some(power) = power {
                let digits = self.digits as f64;
                return Some(if self.exponent < 0 { digits / power } else { digits * power });
            }
        }
        if self.is_whole && self.count > 18 {
            return None;
        }
        std::str::from_utf8(spelled).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
    }
}

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
                    Some((name, kind)) if rest.starts_with(name) => {
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

    fn number(&mut self) -> Option<(Number, &'a [u8])> {
        self.skip_blanks();
        let rest = self.text.get(self.at..)?;
        let (number, length) = read_number(rest)?;
        self.at += length;
        Some((number, rest.get(..length).filter(|spelled| spelled.len() <= LONGEST_NUMBER)?))
    }

    /// Go behind a number as `number` reads it, without its value.
    fn skip_number(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let sign = usize::from(rest.first()? == &b'-');
        let first = rest.get(sign)?;
        let mut at = sign + digits_length(rest.get(sign..)?);
        if at == sign || (first == &b'0' && at > sign + 1) {
            return None;
        }
        if rest.get(at) == Some(&b'.') {
            let places = digits_length(rest.get(at + 1..)?);
            if places == 0 {
                return None;
            }
            at += 1 + places;
        }
        if let Some(b'e' | b'E') = rest.get(at) {
            at += 1 + read_exponent(rest.get(at + 1..)?)?.1;
        }
        if at > LONGEST_NUMBER {
            return None;
        }
        self.at += at;
        Some(())
    }

    /// Read a whole number from 0 on that any double holds exactly.
    pub fn whole(&mut self) -> Option<i64> {
        let (number, _) = self.number()?;
        if number.is_negative || !number.is_whole || number.count > EXACT_DIGITS {
            return None;
        }
        Some(number.digits as i64)
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
    pub fn double(&mut self) -> Option<f64> {
        let (number, spelled) = self.number()?;
        number.double(spelled)
    }

    /// Read a time in any unit: a whole number of any length as such, and any other as `double` does.
    pub fn stamp<'v>(&mut self) -> Option<Value<'v>> {
        let (number, spelled) = self.number()?;
        if !number.is_whole {
            return number.double(spelled).map(Value::Number);
        }
        let whole = i64::try_from(number.digits).ok()?;
        (!number.is_negative && number.count <= HELD_DIGITS).then_some(Value::Whole(whole))
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

/// Return the number at the beginning of a text, and its length.
fn read_number(text: &[u8]) -> Option<(Number, usize)> {
    let mut number = Number { is_whole: true, ..Number::default() };
    let mut at = 0;
    if text.first()? == &b'-' {
        number.is_negative = true;
        at = 1;
    }
    let begins_with_zero = text.get(at)? == &b'0';
    at += read_digits(text.get(at..)?, &mut number);
    if number.count == 0 || (begins_with_zero && number.count > 1) {
        return None;
    }
    if text.get(at) == Some(&b'.') {
        at += 1;
        let places = read_digits(text.get(at..)?, &mut number);
        if places == 0 {
            return None;
        }
        at += places;
        number.exponent = -(places as i32);
        number.is_whole = false;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let (exponent, length) = read_exponent(text.get(at + 1..)?)?;
        at += 1 + length;
        number.exponent += exponent;
        number.is_whole = false;
    }
    Some((number, at))
}

fn read_digits(text: &[u8], number: &mut Number) -> usize {
    let mut count = 0;
    let mut digits = number.digits;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    number.digits = digits;
    number.count += count;
    count
}

fn digits_length(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

/// Return an exponent of one or two digits, and its length.
fn read_exponent(text: &[u8]) -> Option<(i32, usize)> {
    let sign = usize::from(matches!(text.first()?, b'+' | b'-'));
    let mut number = Number::default();
    let count = read_digits(text.get(sign..)?, &mut number);
    if !(1..=2).contains(&count) {
        return None;
    }
    let value = number.digits as i32;
    Some((if text.first() == Some(&b'-') { -value } else { value }, sign + count))
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
