//! Names of symbols, and where each of them is in a list: small, and near to what is known of the symbol.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// As long as the usual names of symbols, at most.
const SHORT: usize = 22;
/// Stands for no place in the list.
const FREE: u32 = u32::MAX;
const SLOTS_MIN: usize = 8;

/// A name, if there is one; a short one takes no memory elsewhere.
pub enum Name {
    None,
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

impl Name {
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Name::Short(text.len() as u8, bytes)
            }
            None => Name::Long(text.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Name::None => &[],
            Name::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Name::Long(text) => text.as_bytes(),
        }
    }

    pub fn is(&self, text: &str) -> bool {
        self.bytes() == text.as_bytes() && !matches!(self, Name::None)
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Name::None => None,
            _ => std::str::from_utf8(self.bytes()).ok(),
        }
    }
}

/// The places of names in a list, by their hashes: a table with open addressing, whose names are in the list.
pub struct Places {
    /// As many as a power of two, at most three quarters of them taken.
    slots: Vec<u32>,
    taken: usize,
    hasher: RandomState,
}

impl Places {
    pub fn new() -> Self {
        Places { slots: Vec::new(), taken: 0, hasher: RandomState::default() }
    }

    pub fn len(&self) -> usize {
        self.taken
    }

    fn mask(&self) -> usize {
        self.slots.len().wrapping_sub(1)
    }

    fn home(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize & self.mask()
    }

    fn at(&self, slot: usize) -> u32 {
        self.slots.get(slot).copied().unwrap_or(FREE)
    }

    /// Return the slot of a name, or the free one where it belongs; `name` returns the name at a place.
    fn slot<'a>(&self, wanted: &str, name: impl Fn(usize) -> Option<&'a Name>) -> usize {
        let mut slot = self.home(wanted.as_bytes());
        loop {
            let place = self.at(slot);
            if place == FREE || name(place as usize).is_some_and(|name| name.is(wanted)) {
                return slot;
            }
            slot = (slot + 1) & self.mask();
        }
    }

    /// Return the place of a name.
    pub fn find<'a>(&self, wanted: &str, name: impl Fn(usize) -> Option<&'a Name>) -> Option<usize> {
        match self.at(self.slot(wanted, name)) {
            FREE => None,
            place => Some(place as usize),
        }
    }

    /// Note the place of a name that is not there yet.
    pub fn add<'a>(&mut self, text: &str, place: usize, name: impl Fn(usize) -> Option<&'a Name>) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.grow(&name);
        }
        let slot = self.slot(text, name);
        if let Some(free) = self.slots.get_mut(slot) {
            *free = place as u32;
            self.taken += 1;
        }
    }

    fn grow<'a>(&mut self, name: impl Fn(usize) -> Option<&'a Name>) {
        let slots = vec![FREE; SLOTS_MIN.max(self.slots.len() * 2)];
        for place in std::mem::replace(&mut self.slots, slots).into_iter().filter(|place| *place != FREE) {
            let Some(known) = name(place as usize).and_then(Name::text) else { continue };
            let slot = self.slot(known, &name);
            if let Some(free) = self.slots.get_mut(slot) {
                *free = place;
            }
        }
    }

    /// Remove a name, and return where it was.
    pub fn remove<'a>(&mut self, text: &str, name: impl Fn(usize) -> Option<&'a Name>) -> Option<usize> {
        let mut hole = self.slot(text, &name);
        let removed = self.at(hole);
        if removed == FREE {
            return None;
        }
        self.taken -= 1;
        // What would no longer be found behind the hole moves into it.
        let mut slot = hole;
        loop {
            slot = (slot + 1) & self.mask();
            let place = self.at(slot);
            let Some(known) = Some(place).filter(|place| *place != FREE).and_then(|place| name(place as usize)) else {
                break;
            };
            let distance = slot.wrapping_sub(self.home(known.bytes())) & self.mask();
            if distance >= slot.wrapping_sub(hole) & self.mask() {
                self.set(hole, place);
                hole = slot;
            }
        }
        self.set(hole, FREE);
        Some(removed as usize)
    }

    fn set(&mut self, slot: usize, place: u32) {
        if let Some(old) = self.slots.get_mut(slot) {
            *old = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Name, Places};

    #[test]
    fn names_of_any_length_are_kept() {
        for length in 0..40 {
            let text = "\u{e9}".repeat(length);
            assert_eq!(Name::new(&text).text(), Some(&*text));
            assert!(Name::new(&text).is(&text) && !Name::None.is(&text));
        }
        assert!(size_of::<Name>() <= 24);
    }

    #[test]
    fn places_are_those_of_a_map_whatever_comes_and_goes() {
        let (mut names, mut places, mut wanted) = (Vec::new(), Places::new(), HashMap::new());
        let mut number = 1_u64;
        for _ in 0..20_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let text = format!("S{}", (number >> 33) % 200);
            let known = places.find(&text, |place| names.get(place));
            assert_eq!(known, wanted.get(&text).copied());
            if number >> 63 == 0 {
                assert_eq!(places.remove(&text, |place| names.get(place)), wanted.remove(&text));
            } else if known.is_none() {
                names.push(Name::new(&text));
                let place = names.len() - 1;
                places.add(&text, place, |place| names.get(place));
                wanted.insert(text, place);
            }
            assert_eq!(places.len(), wanted.len());
        }
    }
}
