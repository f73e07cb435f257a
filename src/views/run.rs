//! Sorted runs of the audit index: how entries are packed into pages, and how runs become one.
//!
//! An entry is a key and the position of an event that has it. A run holds the entries of a stretch of the ledger,
//! sorted by key and then position. In a page an entry takes the distance from the position before it; where
//! the key changes, a zero, the key and the whole position. Entries of one key can go on over many pages.

/// Pages have about this many bytes, so that one fits into a page of SQLite's.
const PAGE_BYTES: usize = 3_900;
/// The most that an entry can take.
const ENTRY_BYTES_MAX: usize = 1 + 8 + 10;

/// A key, and the position of an event that has it.
pub type Entry = (i64, u64);

/// A page of a run.
#[derive(Debug)]
pub struct Page {
    /// Its first entry.
    pub first: Entry,
    /// Its entries.
    pub data: Vec<u8>,
}

/// Packs sorted entries into pages.
#[derive(Default)]
pub struct Packer {
    full: Vec<Page>,
    page: Option<Page>,
    last: Entry,
}

impl Packer {
    /// Takes the next entry.
    pub fn push(&mut self, entry: Entry) {
        if self.page.as_ref().is_some_and(|page| page.data.len() + ENTRY_BYTES_MAX > PAGE_BYTES) {
            self.full.extend(self.page.take());
        }
        let begun = self.page.is_some();
        let page =
            self.page.get_or_insert_with(|| Page { first: entry, data: Vec::with_capacity(PAGE_BYTES) });
        let (key, position) = entry;
        if begun && self.last.0 == key {
            write_number(&mut page.data, position - self.last.1);
        } else {
            page.data.push(0);
            page.data.extend_from_slice(&key.to_le_bytes());
            write_number(&mut page.data, position);
        }
        self.last = entry;
    }

    /// How many pages are full.
    pub fn full(&self) -> usize {
        self.full.len()
    }

    /// Takes the pages that are full.
    pub fn take_full(&mut self) -> Vec<Page> {
        std::mem::take(&mut self.full)
    }

    /// Takes all pages that are left.
    pub fn finish(mut self) -> Vec<Page> {
        self.full.extend(self.page.take());
        self.full
    }
}

/// The entries of a page. Bytes that are none end them.
pub struct Entries<'a> {
    rest: &'a [u8],
    last: Entry,
}

impl<'a> Entries<'a> {
    /// Of a page's data.
    pub fn of(data: &'a [u8]) -> Self {
        Self { rest: data, last: (0, 0) }
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let distance = read_number(&mut self.rest)?;
        if distance == 0 {
            let (key, rest) = self.rest.split_first_chunk::<8>()?;
            self.rest = rest;
            self.last = (i64::from_le_bytes(*key), read_number(&mut self.rest)?);
        } else {
            self.last.1 = self.last.1.checked_add(distance)?;
        }
        Some(self.last)
    }
}

/// The positions from `from` up to `end`, exclusive, that pages have for a key.
pub fn positions(data: &[u8], key: i64, from: u64, end: u64) -> impl Iterator<Item = u64> {
    Entries::of(data)
        .skip_while(move |entry| *entry < (key, from))
        .take_while(move |entry| *entry < (key, end))
        .map(|(_, position)| position)
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Packs entries in any order into a run.
pub fn pack(mut entries: Vec<Entry>) -> Vec<Page> {
    entries.sort_unstable();
    // Two facets of one event whose keys are the same.
    entries.dedup();
    let mut packer = Packer::default();
    for entry in entries {
        packer.push(entry);
    }
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let mut entries: Vec<Entry> = (0..20_000u64)
            .flat_map(|n| {
                let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64;
                [(mixed % 500, n), (7_000, n), (i64::MIN + (n % 3) as i64, n << 40), (mixed, n)]
            })
            .collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    }

    #[test]
    fn what_is_packed_is_found_again() {
        let sorted = entries();
        let mut shuffled = sorted.clone();
        shuffled.sort_unstable_by_key(|(key, position)| (position.wrapping_mul(7_919) % 20_011, *key));
        let pages = pack(shuffled);
        assert!(pages.len() > 20);
        let read: Vec<Entry> = pages.iter().flat_map(|page| Entries::of(&page.data)).collect();
        assert_eq!(read, sorted);
        for page in &pages {
            assert_eq!(Entries::of(&page.data).next(), Some(page.first));
            assert!(page.data.len() <= PAGE_BYTES);
        }
        for (key, from, end) in
            [(7_000, 100, 19_000), (7_000, 0, u64::MAX), (3, 0, 900), (-3, 5, 6), (1 << 60, 0, 9)]
        {
            let found: Vec<u64> =
                pages.iter().flat_map(|page| positions(&page.data, key, from, end)).collect();
            let right = sorted.iter().filter(|(k, p)| *k == key && (from..end).contains(p)).map(|(_, p)| *p);
            assert_eq!(found, right.collect::<Vec<_>>(), "{key} from {from} to {end}");
        }
    }

    #[test]
    fn bytes_that_are_no_entries_end_them() {
        let [page, ..] =
            pack(entries()).try_into().unwrap_or_else(|pages: Vec<Page>| [pages.into_iter().next().unwrap()]);
        let whole = Entries::of(&page.data).count();
        for end in 0..page.data.len() {
            assert!(Entries::of(&page.data[..end]).count() <= whole);
        }
        assert_eq!(Entries::of(&[0xff; 40]).count(), 0);
    }
}
