//! Numbers as JSON spells them.

/// So many digits of a number any double holds, and any u64.
const EXACT_DIGITS: usize = 15;
const HELD_DIGITS: usize = 19;
const LONGEST_NUMBER: usize = 40;
/// Powers of ten that a double holds exactly: the quotient of two exact numbers is rounded once, as it has to be.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// One number as it is spelled.
pub struct Number<'a> {
    spelled: &'a [u8],
    is_negative: bool,
    /// All digits without the point, of which there are `count`; it overflows beyond `HELD_DIGITS`.
    digits: u64,
    count: usize,
    pub is_whole: bool,
}

impl<'a> Number<'a> {
    /// Return the number at the beginning of a text, and its length.
    #[cold]
    pub fn read(text: &'a [u8]) -> Option<(Self, usize)> {
        let mut from = Digits { text, at: 0, value: 0 };
        let is_negative = from.passes(b'-');
        let starts_with_zero = from.byte() == b'0';
        let whole = from.take();
        if whole == 0 || (starts_with_zero && whole > 1) {
            return None;
        }
        let has_point = from.passes(b'.');
        let places = if has_point { from.take() } else { 0 };
        if has_point && places == 0 {
            return None;
        }
        let (end, digits) = (from.at, from.value);
        from.exponent()?;
        let is_whole = !has_point && from.at == end;
        let spelled = text.get(..from.at).filter(|spelled| spelled.len() <= LONGEST_NUMBER)?;
        Some((Number { spelled, is_negative, digits, count: whole + places, is_whole }, from.at))
    }

    pub fn length(&self) -> usize {
        self.spelled.len()
    }

    /// Return a whole number that is not negative, if it is not too long.
    pub fn held(&self) -> Option<i64> {
        i64::try_from(self.digits).ok().filter(|_| !self.is_negative && self.count <= HELD_DIGITS)
    }

    /// Return the nearest double of a number that is not negative.
    pub fn double(&self) -> Option<f64> {
        if self.is_negative || (self.is_whole && self.count > 18) {
            return None;
        }
        std::str::from_utf8(self.spelled).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
    }
}

/// Return the whole number at the beginning of a text that any double holds exactly, and its length.
#[inline]
pub fn short_whole(text: &[u8]) -> Option<(i64, usize)> {
    let mut digits = Digits { text, at: 0, value: 0 };
    let starts_with_zero = digits.byte() == b'0';
    let count = digits.take();
    let is_short = (1..=EXACT_DIGITS).contains(&count) && (!starts_with_zero || count == 1);
    let is_whole = !matches!(digits.byte(), b'.' | b'e' | b'E');
    (is_short && is_whole).then_some((digits.value as i64, count))
}

/// Return the double of a number at the beginning of a text, and its length: of one with so few digits that a double
/// holds them and its power of ten. As `Number::double`, in a third of the time.
#[inline]
pub fn short_double(text: &[u8]) -> Option<(f64, usize)> {
    let mut digits = Digits { text, at: 0, value: 0 };
    let starts_with_zero = digits.byte() == b'0';
    let whole = digits.take();
    if whole == 0 || (starts_with_zero && whole > 1) {
        return None;
    }
    let mut places = 0;
    if digits.passes(b'.') {
        places = digits.take();
        if places == 0 {
            return None;
        }
    }
    if whole + places > EXACT_DIGITS {
        return None;
    }
    let value = digits.value as f64;
    let exponent = digits.exponent()? - places as i32;
    let power = POWERS.get(exponent.unsigned_abs() as usize)?;
    Some((if exponent < 0 { value / power } else { value * power }, digits.at))
}

/// Return the length of a number that something follows: in less time than with its value.
#[inline]
pub fn length(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter();
    let mut byte = bytes.next()?;
    if byte == &b'-' {
        byte = bytes.next()?;
    }
    let starts_with_zero = byte == &b'0';
    if !byte.is_ascii_digit() {
        return None;
    }
    byte = bytes.next()?;
    if byte.is_ascii_digit() {
        byte = bytes.find(|byte| !byte.is_ascii_digit()).filter(|_| !starts_with_zero)?;
    }
    if byte == &b'.' {
        byte = bytes.next().filter(|byte| byte.is_ascii_digit())?;
        byte = bytes.find(|byte| !byte.is_ascii_digit()).filter(|_| byte.is_ascii_digit())?;
    }
    let mut length = text.len() - bytes.len() - 1;
    if byte | 0x20 == b'e' {
        length += 1 + exponent_length(bytes.as_slice())?;
    }
    (length <= LONGEST_NUMBER).then_some(length)
}

/// Return the length of an exponent of one or two digits.
fn exponent_length(text: &[u8]) -> Option<usize> {
    let sign = usize::from(matches!(text.first()?, b'+' | b'-'));
    let count = text.get(sign..)?.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    (1..=2).contains(&count).then_some(sign + count)
}

/// The digits of a text from a place on, as a value.
struct Digits<'a> {
    text: &'a [u8],
    at: usize,
    value: u64,
}

impl Digits<'_> {
    /// Return the next byte, a blank at the end.
    #[inline]
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(b' ')
    }

    /// Append the digits that are next to the value, which overflows beyond `HELD_DIGITS`; return their number.
    #[inline]
    fn take(&mut self) -> usize {
        let start = self.at;
        loop {
            let digit = self.byte().wrapping_sub(b'0');
            if digit > 9 {
                return self.at - start;
            }
            self.value = self.value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
    }

    /// Go behind a byte, if that is next.
    #[inline]
    fn passes(&mut self, byte: u8) -> bool {
        if self.byte() != byte {
            return false;
        }
        self.at += 1;
        true
    }

    /// Go behind an exponent, if one is next, and return it; None for one that is not of one or two digits.
    #[inline]
    fn exponent(&mut self) -> Option<i32> {
        if self.byte() | 0x20 != b'e' {
            return Some(0);
        }
        self.at += 1;
        let is_negative = self.passes(b'-');
        if !is_negative {
            self.passes(b'+');
        }
        self.value = 0;
        let count = self.take();
        let power = self.value as i32;
        (1..=2).contains(&count).then_some(if is_negative { -power } else { power })
    }
}
