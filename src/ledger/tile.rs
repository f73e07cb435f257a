//! The tree cut into static tiles, as c2sp.org/tlog-tiles lays them out.
//!
//! A tile holds up to 256 hashes of one level; the hash at index `i` of level `L` is the root over the leaves
//! `i·256^L` to `(i+1)·256^L`. A full tile never changes.

use std::fmt;
use std::str::FromStr;

use rota_aggregates::ids::Hash;

use super::rfc6962::{Frontier, fold, node_hash};

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: u64 = 256;
/// Height of a tile: its hashes are roots of subtrees that are so much higher a level.
const HEIGHT: u32 = 8;
/// An entry has at most this many bytes.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Where a hash tile is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TileId {
    /// Its level: 0 is the leaves'.
    pub level: u8,
    /// Its place in the level.
    pub index: u64,
}

/// Hashes as a tile holds them: one after the other.
pub fn to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes that a tile holds; `None` if it is cut short.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// A tile that is full for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullTile {
    /// Where it is.
    pub id: TileId,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
}

/// What a path asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Hashes of a level.
    Hashes(u8),
    /// The entries themselves.
    Entries,
}

/// A tile or bundle as a path names it, such as `0/x001/067.p/12` or `entries/000`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TilePath {
    /// What it holds.
    pub kind: Kind,
    /// Its place in its level.
    pub index: u64,
    /// How many hashes or entries it holds: 1 to 256.
    pub width: u16,
}

impl TilePath {
    /// The index of its first hash or entry in its level, and that after its last.
    pub fn range(&self) -> (u64, u64) {
        let first = self.index * WIDTH;
        (first, first + u64::from(self.width))
    }

    /// Whether a tree of `size` leaves has it.
    pub fn is_in(&self, size: u64) -> bool {
        let level = match self.kind {
            Kind::Hashes(level) => u32::from(level),
            Kind::Entries => 0,
        };
        self.range().1 <= size.checked_shr(HEIGHT * level).unwrap_or(0)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "{level}/")?,
            Kind::Entries => f.write_str("entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups[1..].iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if u64::from(self.width) < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// The path is not one that the format has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the path of a tile, such as 0/x001/067 or entries/000.p/12")]
pub struct NotATile;

/// A decimal number without leading zeroes.
fn decimal<T: FromStr>(text: &str) -> Result<T, NotATile> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| NotATile) } else { Err(NotATile) }
}

impl FromStr for TilePath {
    type Err = NotATile;

    fn from_str(path: &str) -> Result<Self, NotATile> {
        let (kind, place) = path.split_once('/').ok_or(NotATile)?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(decimal(level).ok().filter(|level| *level < 64).ok_or(NotATile)?),
        };
        let (place, width) = match place.split_once(".p/") {
            Some((place, width)) => {
                (place, decimal(width).ok().filter(|w| (1..WIDTH as u16).contains(w)).ok_or(NotATile)?)
            }
            None => (place, WIDTH as u16),
        };
        let mut index = 0u64;
        let mut groups = place.split('/').peekable();
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() { group.strip_prefix('x') } else { Some(group) };
            let digits = digits.filter(|d| d.len() == 3 && d.bytes().all(|b| b.is_ascii_digit()));
            let group: u64 = digits.and_then(|d| d.parse().ok()).ok_or(NotATile)?;
            index = index.checked_mul(1000).and_then(|i| i.checked_add(group)).ok_or(NotATile)?;
        }
        let found = Self { kind, index, width };
        // One tile has one path: no leading groups of zeroes; and no tile lies beyond what a tree can have.
        if found.index >= u64::MAX / WIDTH || found.to_string() != path { Err(NotATile) } else { Ok(found) }
    }
}

/// Appends an entry to a bundle: its length in two bytes, then itself. `None` if it is too long for the format.
pub fn put_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    let length = u16::try_from(entry.len()).ok()?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

/// The entries of a bundle; `None` if it is cut short.
pub fn entries(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(WIDTH as usize);
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    bundle.is_empty().then_some(entries)
}

/// A perfect subtree: the root over the leaves `index·2^height` to `(index+1)·2^height`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subtree {
    pub(super) height: u32,
    pub(super) index: u64,
}

impl Subtree {
    /// The tile that it is computed from, and where in it its hashes begin and how many they are.
    pub(super) fn place(self) -> (TileId, usize, usize) {
        let (level, extra) = (self.height / HEIGHT, self.height % HEIGHT);
        let first = self.index << extra;
        (TileId { level: level as u8, index: first / WIDTH }, (first % WIDTH) as usize, 1 << extra)
    }
}

/// The root over hashes side by side; their number is a power of two.
pub(super) fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [hash] => Some(*hash),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Some(node_hash(&perfect_root(left)?, &perfect_root(right)?))
        }
    }
}

/// The place at which a tree grows: its frontier, and the tiles that are not full yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Edge {
    frontier: Frontier,
    /// By level, the hashes of its last tile, which is not full.
    open: Vec<Vec<Hash>>,
}

impl Edge {
    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The tree's root.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Adds a leaf; tiles that it fills are appended to `full`.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        let index = self.frontier.size();
        let open = &mut self.open;
        self.frontier.push(leaf, |height, hash| {
            if height % HEIGHT != 0 {
                return;
            }
            let level = (height / HEIGHT) as usize;
            if open.len() <= level {
                open.resize_with(level + 1, || Vec::with_capacity(WIDTH as usize));
            }
            open[level].push(*hash);
            if open[level].len() as u64 == WIDTH {
                let hashes = std::mem::replace(&mut open[level], Vec::with_capacity(WIDTH as usize));
                let index = (index >> height) / WIDTH;
                full.push(FullTile { id: TileId { level: level as u8, index }, hashes });
            }
        });
    }

    /// The hashes that a tile has so far, if it is one that is not full.
    pub fn open_tile(&self, tile: TileId) -> Option<&[Hash]> {
        let level = u32::from(tile.level);
        let last = self.size().checked_shr(HEIGHT * (level + 1)).unwrap_or(0);
        let hashes = self.open.get(tile.level as usize)?;
        (tile.index == last && !hashes.is_empty()).then_some(hashes)
    }

    /// What is needed to take a tree of `size` leaves up again: for each level its unfinished tile's width and
    /// the index of that tile. The hashes of level 0 are the leaves', those of a level above it the roots of the
    /// full tiles below.
    pub fn needs(size: u64) -> Vec<(TileId, usize)> {
        let levels = (64 - size.leading_zeros()).div_ceil(HEIGHT);
        (0..levels)
            .map(|level| {
                let hashes = size >> (HEIGHT * level);
                (TileId { level: level as u8, index: hashes / WIDTH }, (hashes % WIDTH) as usize)
            })
            .collect()
    }

    /// Takes a tree of `size` leaves up again, from the hashes of its unfinished tiles by level; `None` if they
    /// can't be that tree's.
    pub fn resume(size: u64, open: Vec<Vec<Hash>>) -> Option<Self> {
        let widths = Self::needs(size);
        if widths.len() != open.len() || widths.iter().zip(&open).any(|((_, width), o)| *width != o.len()) {
            return None;
        }
        let mut peaks = Vec::new();
        for hashes in open.iter().rev() {
            let mut rest = hashes.as_slice();
            for bit in (0..HEIGHT).rev().filter(|bit| hashes.len() >> bit & 1 == 1) {
                let (subtree, after) = rest.split_at_checked(1 << bit)?;
                peaks.push(perfect_root(subtree)?);
                rest = after;
            }
        }
        Some(Self { frontier: Frontier::new(size, peaks)?, open })
    }
}

/// The root over the hashes of a tile that is full or not.
pub fn tile_root(hashes: &[Hash]) -> Option<Hash> {
    let mut rest = hashes;
    let mut subtrees = Vec::new();
    for bit in (0..=HEIGHT).rev().filter(|bit| hashes.len() >> bit & 1 == 1) {
        let (subtree, after) = rest.split_at_checked(1 << bit)?;
        subtrees.push(perfect_root(subtree)?);
        rest = after;
    }
    fold(&subtrees)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::rfc6962::leaf_hash;

    #[test]
    fn paths_are_read_and_written() {
        let hashes = |level, index, width| TilePath { kind: Kind::Hashes(level), index, width };
        let entries = |index, width| TilePath { kind: Kind::Entries, index, width };
        for (path, tile) in [
            ("0/000", hashes(0, 0, 256)),
            ("0/273.p/112", hashes(0, 273, 112)),
            ("2/000.p/1", hashes(2, 0, 1)),
            ("1/x001/x234/067", hashes(1, 1_234_067, 256)),
            ("63/x001/000.p/255", hashes(63, 1000, 255)),
            ("entries/x001/x234/067.p/9", entries(1_234_067, 9)),
        ] {
            assert_eq!(path.parse(), Ok(tile));
            assert_eq!(tile.to_string(), path);
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "0/x000/000",
            "0/x001",
            "0/001/000",
            "0/x001/x000",
            "00/000",
            "01/000",
            "64/000",
            "-1/000",
            "+1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p/1/",
            "0/000/",
            "data/000",
            "entries/000.p/1.p/1",
            "0/x999/x999/x999/x999/x999/x999/999",
            "0/x999/x999/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(path.parse::<TilePath>(), Err(NotATile), "{path}");
        }
    }

    #[test]
    fn a_tree_has_the_tiles_that_the_format_counts() {
        let of = |path: &str, size| path.parse::<TilePath>().is_ok_and(|tile| tile.is_in(size));
        for path in ["0/272", "0/273.p/112", "1/000", "1/001.p/17", "2/000.p/1", "entries/273.p/112"] {
            assert!(of(path, 70_000), "{path}");
        }
        for path in ["0/273", "0/273.p/113", "1/001.p/18", "2/000.p/2", "3/000.p/1", "entries/274.p/1"] {
            assert!(!of(path, 70_000), "{path}");
        }
        assert!(of("1/000.p/1", 256) && !of("1/000.p/1", 255));
        let widths: Vec<usize> = Edge::needs(70_000).iter().map(|(_, width)| *width).collect();
        assert_eq!(widths, [112, 17, 1]);
        assert!(Edge::needs(0).is_empty());
    }

    #[test]
    fn bundles_are_read_as_they_were_written() {
        let mut bundle = Vec::new();
        let longest = vec![7; ENTRY_BYTES_MAX];
        for entry in [&b""[..], b"one", &longest] {
            assert!(put_entry(&mut bundle, entry).is_some());
        }
        assert!(put_entry(&mut bundle, &vec![0; ENTRY_BYTES_MAX + 1]).is_none());
        assert_eq!(entries(&bundle), Some(vec![&b""[..], b"one", &longest]));
        assert_eq!(entries(&bundle[..bundle.len() - 1]), None);
        assert_eq!(entries(&[0]), None);
    }

    #[test]
    fn an_edge_resumes_where_it_stopped() {
        let mut edge = Edge::default();
        let mut full = Vec::new();
        for size in 0..66_500u64 {
            if [0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_000].contains(&size) {
                let needs = Edge::needs(size);
                let open = needs.iter().map(|(id, _)| edge.open_tile(*id).unwrap_or_default().to_vec());
                assert_eq!(Edge::resume(size, open.collect()), Some(edge.clone()), "{size}");
            }
            edge.push(leaf_hash(&size.to_be_bytes()), &mut full);
        }
        assert_eq!(full.iter().filter(|tile| tile.id.level == 0).count(), 259);
        assert_eq!(
            full.iter().filter(|tile| tile.id.level == 1).map(|tile| tile.id.index).collect::<Vec<_>>(),
            [0]
        );
        for tile in &full {
            assert_eq!(tile.hashes.len(), 256);
        }
        // A level's hashes are the roots of the full tiles below it.
        let below: Vec<Hash> =
            full.iter().filter(|t| t.id.level == 0).filter_map(|t| tile_root(&t.hashes)).collect();
        let level_1 = full.iter().find(|t| t.id.level == 1).map(|t| t.hashes.clone()).unwrap_or_default();
        assert_eq!(below[..256], level_1);
        assert_eq!(edge.open_tile(TileId { level: 1, index: 1 }), Some(&below[256..]));
    }
}
