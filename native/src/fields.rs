//! The fields that a format reads from an object or an array, found in one pass over it.

use crate::scan::{Scanner, Span};

/// What a field holds, by which it is read.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Text,
    Number,
    Stamp,
    Time,
    Levels,
    Rows,
    /// Fields of its own, or nothing that is asked for.
    Inner,
}

/// What was found.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Absent,
    Null,
    Text(&'a str),
    Number(f64),
    Whole(i64),
    Levels(Span),
    NoLevels(Span),
    /// Something that is not looked at here, or a negative number, which Python reads.
    Passed,
}

impl Value<'_> {
    /// Whether there is something: a time that is 0 is none.
    fn is_there(self) -> bool {
        !matches!(self, Value::Absent | Value::Null | Value::Whole(0) | Value::NoLevels(_))
    }
}

/// Return the first value that is there, or what the last slot has instead.
pub fn first<'a>(found: &[Value<'a>], slots: &[usize]) -> Value<'a> {
    let mut last = Value::Absent;
    for value in slots.iter().filter_map(|&slot| found.get(slot)) {
        last = *value;
        if last.is_there() {
            break;
        }
    }
    last
}

/// Reads the rows where they are met, with what was found before them.
pub type OnRows<'f, 'a> = &'f mut dyn FnMut(&mut Scanner<'a>, &[Value<'a>]) -> Option<()>;

struct Node {
    name: Box<[u8]>,
    kind: Kind,
    slot: usize,
    inner: Vec<Node>,
}

/// The fields by name, each at a place among the values found; those of an array are its positions.
pub struct Fields {
    nodes: Vec<Node>,
    is_array: bool,
    /// How many values there are.
    pub size: usize,
    allows_text: bool,
}

impl Fields {
    /// Fields by path, in the order of their slots; `array` names the positions, `allows_text` takes texts for numbers.
    pub fn new(paths: Vec<(String, Kind)>, array: &[String], allows_text: bool) -> Self {
        let mut fields = Fields { nodes: Vec::new(), is_array: !array.is_empty(), size: paths.len(), allows_text };
        for name in array {
            add(&mut fields.nodes, name, Kind::Inner, &mut fields.size);
        }
        for (slot, (path, kind)) in paths.into_iter().enumerate() {
            let mut nodes = &mut fields.nodes;
            let mut parts = path.split('.').peekable();
            while let Some(part) = parts.next() {
                let Some(node) = add(nodes, part, Kind::Inner, &mut fields.size) else { break };
                if parts.peek().is_none() {
                    (node.kind, node.slot) = (kind, slot);
                }
                nodes = &mut node.inner;
            }
        }
        fields
    }

    /// Read an object, or an array, into the values found; None where it is not plainly as it should be.
    pub fn read<'a>(&self, scanner: &mut Scanner<'a>, found: &mut [Value<'a>], rows: OnRows<'_, 'a>) -> Option<()> {
        if !self.is_array {
            return self.object(&self.nodes, scanner, found, rows);
        }
        let mut nodes = self.nodes.iter();
        scanner.array(|scanner| match nodes.next() {
            Some(node) => self.field(node, scanner, found, rows),
            None => scanner.skip().map(drop),
        })
    }

    fn object<'a>(
        &self,
        nodes: &[Node],
        scanner: &mut Scanner<'a>,
        found: &mut [Value<'a>],
        rows: OnRows<'_, 'a>,
    ) -> Option<()> {
        // Records have their fields mostly in the same order, which often is that of the format.
        let mut next = 0;
        scanner.object(|scanner, name| {
            let is_named = |node: &Node| *node.name == *name;
            let place =
                if nodes.get(next).is_some_and(is_named) { Some(next) } else { nodes.iter().position(is_named) };
            match place.and_then(|place| nodes.get(place).map(|node| (place, node))) {
                Some((place, node)) => {
                    next = place + 1;
                    self.field(node, scanner, found, rows)
                }
                None => scanner.skip().map(drop),
            }
        })
    }

    /// Read a field, which must occur once: of two the last would count, with all that is in it.
    fn field<'a>(
        &self,
        node: &Node,
        scanner: &mut Scanner<'a>,
        found: &mut [Value<'a>],
        rows: OnRows<'_, 'a>,
    ) -> Option<()> {
        if !matches!(found.get(node.slot)?, Value::Absent) {
            return None;
        }
        let value = match node.kind {
            Kind::Inner if node.inner.is_empty() => scanner.skip().map(|_| Value::Passed)?,
            Kind::Inner if scanner.null().is_some() => Value::Passed,
            Kind::Inner => self.object(&node.inner, scanner, found, rows).map(|()| Value::Passed)?,
            Kind::Rows => rows(scanner, found).map(|()| Value::Passed)?,
            kind => self.value(kind, scanner)?,
        };
        *found.get_mut(node.slot)? = value;
        Some(())
    }

    fn value<'a>(&self, kind: Kind, scanner: &mut Scanner<'a>) -> Option<Value<'a>> {
        if kind == Kind::Levels {
            let span = scanner.skip()?;
            let is_null = scanner.slice(span) == b"null";
            return Some(if is_null { Value::NoLevels(span) } else { Value::Levels(span) });
        }
        if scanner.null().is_some() {
            return Some(Value::Null);
        }
        let is_quoted = scanner.next()? == b'"';
        match kind {
            Kind::Text => scanner.plain_str().map(Value::Text),
            Kind::Time => time_ms(scanner.plain_str()?).map(Value::Whole),
            _ if is_quoted && !self.allows_text => None,
            _ if is_quoted => {
                let text = scanner.plain_str()?;
                let mut inner = Scanner::new(text.as_bytes(), 0)?;
                // No blanks around it, and nothing behind it.
                let value = if text.as_bytes().first()? > &b' ' { number(&mut inner, kind)? } else { return None };
                inner.has_passed_all().then_some(value)
            }
            _ => number(scanner, kind),
        }
    }
}

/// Return the field of that name, added where there is none.
fn add<'n>(nodes: &'n mut Vec<Node>, name: &str, kind: Kind, size: &mut usize) -> Option<&'n mut Node> {
    let place = nodes.iter().position(|node| *node.name == *name.as_bytes()).unwrap_or_else(|| {
        nodes.push(Node { name: name.as_bytes().into(), kind, slot: *size, inner: Vec::new() });
        *size += 1;
        nodes.len() - 1
    });
    nodes.get_mut(place)
}

fn number<'a>(scanner: &mut Scanner<'_>, kind: Kind) -> Option<Value<'a>> {
    if scanner.next()? == b'-' {
        return scanner.skip().map(|_| Value::Passed);
    }
    if kind == Kind::Number { scanner.double().map(Value::Number) } else { scanner.stamp() }
}

const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Return the Unix milliseconds of a time since 1970 in the main form of ISO 8601, such as `2023-09-25T07:49:37.7Z`.
fn time_ms(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    let (date, rest) = text.split_at_checked(19)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] = date else {
        return None;
    };
    let year = digits(&[*y1, *y2, *y3, *y4])?;
    let (month, day) = (digits(&[*m1, *m2])?, digits(&[*d1, *d2])?);
    let (hour, minute, second) = (digits(&[*h1, *h2])?, digits(&[*n1, *n2])?, digits(&[*s1, *s2])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = *DAYS_BEFORE.get(usize::try_from(month - 1).ok()?)?;
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (past, leap_day) = (year - 1, i64::from(is_leap && month > 2));
    let days = past * 365 + past / 4 - past / 100 + past / 400 - 719_162 + before + leap_day + day - 1;
    let (fraction, zone) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?),
        None => (&b"0"[..], rest),
    };
    let parts = digits(fraction).filter(|_| (1..=6).contains(&fraction.len()))?;
    let ms = parts * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?) / 1000;
    let seconds = ((days * 24 + hour) * 60 + minute - offset_minutes(zone)?) * 60 + second;
    (seconds > 0).then_some(seconds * 1000 + ms)
}

fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let offset = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            Some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::time_ms;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", 1000),
            ("2000-02-29T23:59:59.999999Z", 951_868_799_999),
            ("2023-09-25T07:49:37.7+09:00", 1_695_595_777_700),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ] {
            assert_eq!(time_ms(text), Some(ms), "{text}");
        }
        for text in ["2023-02-29T00:00:00Z", "2023-09-25T07:49:37", "2023-09-25 07:49:37Z", "2023-09-25T24:00:00Z", "é"]
        {
            assert_eq!(time_ms(text), None, "{text}");
        }
    }
}
