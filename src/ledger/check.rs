//! Whether leaves, tiles and signed roots fit each other: the tree is computed from the leaves, and whatever somebody
//! says of it is held against that. Goes on after a misfit, so that one run tells all.

use std::collections::BTreeMap;
use std::ops::Range;

use rota_aggregates::ids::Hash;

use super::rfc6962::leaf_hash;
use super::tile::{Edge, FullTile, TileId, WIDTH, tile_root};

/// Something that does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misfit {
    /// A tile says something else than the leaves.
    #[error("the event and the hash that tile {}/{} has of it do not fit", .0.level, .0.index)]
    Leaf(TileId),
    /// A tile of a higher level says something else than the tiles below it.
    #[error("tile {}/{} has another hash than the tiles below it give", .0.level, .0.index)]
    Node(TileId),
    /// A tile is not as wide as the tree needs it.
    #[error("tile {}/{} has {found} hashes, and {expected} are needed", id.level, id.index)]
    Width {
        /// Which.
        id: TileId,
        /// So many hashes it has.
        found: usize,
        /// So many it must have.
        expected: usize,
    },
    /// A bundle without all its entries.
    #[error("the bundle entries/{index} has not the {expected} entries that the tree has there")]
    Bundle {
        /// Which.
        index: u64,
        /// So many it must have.
        expected: usize,
    },
    /// A signed root that the events do not give.
    #[error(
        "the root that {by} signs for the first {size} events is not theirs: one of them, from this position on, is \
         not what was signed for"
    )]
    Root {
        /// Of how many events.
        size: u64,
        /// Who says so.
        by: &'static str,
    },
    /// A signed root of more events than there are.
    #[error("the ledger ends here, and {by} signs for {size} events: the others are gone")]
    End {
        /// Of how many events.
        size: u64,
        /// Who says so.
        by: &'static str,
    },
}

/// A signed root that the tree must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Claim {
    root: Hash,
    by: &'static str,
}

/// A bundle's leaves as the tree sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashed {
    /// The hash of each.
    pub leaves: Vec<Hash>,
    /// The root over them; of use where they are 256.
    pub root: Hash,
}

impl Hashed {
    /// Hashes leaves, at least one and at most 256.
    pub fn of<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut hashes = Vec::with_capacity(WIDTH as usize);
        hashes.extend(leaves.map(leaf_hash));
        Self::from_hashes(hashes)
    }

    /// From the hashes of leaves, at least one and at most 256.
    pub fn from_hashes(leaves: Vec<Hash>) -> Option<Self> {
        let root = tile_root(&leaves).filter(|_| leaves.len() as u64 <= WIDTH)?;
        Some(Self { leaves, root })
    }

    /// Hashes the entries of a bundle; `None` if it is cut short, or none.
    pub fn of_bundle(bundle: &[u8]) -> Option<Self> {
        let mut rest = bundle;
        let entries = std::iter::from_fn(|| {
            let (length, behind) = rest.split_first_chunk::<2>()?;
            let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = behind;
            Some(entry)
        });
        let hashed = Self::of(entries.take(WIDTH as usize + 1));
        if rest.is_empty() { hashed } else { None }
    }
}

/// A tree that is computed from leaves in position order, and what does not fit it.
#[derive(Debug, Default)]
pub struct TreeCheck {
    /// So many full bundles are behind.
    bundles: u64,
    /// The leaves after them.
    open: Vec<Hash>,
    /// By level from 1 on, the hashes of its last tile, which is not full.
    upper: Vec<Vec<Hash>>,
    claims: BTreeMap<u64, Vec<Claim>>,
    /// The largest size whose root was right.
    held: u64,
    misfits: Vec<(u64, Misfit)>,
}

impl TreeCheck {
    /// Somebody says that the first `size` events have this root. Said before the tree has as many.
    pub fn claim(&mut self, size: u64, root: Hash, by: &'static str) {
        self.claims.entry(size).or_default().push(Claim { root, by });
    }

    /// How many events the tree has.
    pub fn size(&self) -> u64 {
        self.bundles * WIDTH + self.open.len() as u64
    }

    /// The root over them.
    pub fn root(&self) -> Hash {
        self.root_with(&self.open).unwrap_or_else(super::rfc6962::empty_root)
    }

    /// The root of the full bundles and of these leaves after them.
    fn root_with(&self, leaves: &[Hash]) -> Option<Hash> {
        if leaves.len() as u64 == WIDTH {
            let mut whole = Self { bundles: self.bundles, upper: self.upper.clone(), ..Self::default() };
            whole.close(tile_root(leaves)?, &mut Vec::new());
            return whole.root_with(&[]);
        }
        let size = self.bundles * WIDTH + leaves.len() as u64;
        let mut open = vec![leaves.to_vec()];
        open.extend(self.upper.iter().cloned());
        open.truncate(Edge::needs(size).len());
        Edge::resume(size, open).map(|edge| edge.root())
    }

    /// Takes the next leaves in: a full bundle, or the last one. `tile` is what somebody says of their hashes.
    /// Tiles of higher levels that are full then are appended to `full`.
    pub fn take(&mut self, hashed: &Hashed, tile: Option<&[Hash]>, full: &mut Vec<FullTile>) {
        let first = self.bundles * WIDTH;
        let leaves = &hashed.leaves;
        if let Some(tile) = tile {
            compare(TileId { level: 0, index: self.bundles }, leaves, tile, 1, &mut self.misfits);
        }
        let end = first + leaves.len() as u64;
        let due: Vec<u64> = self.claims.range(first + 1..=end).map(|(size, _)| *size).collect();
        for size in due {
            let root = self.root_with(&leaves[..(size - first) as usize]);
            let claims = self.claims.remove(&size).unwrap_or_default();
            match claims.iter().find(|claim| Some(claim.root) != root) {
                Some(claim) => {
                    // What is known to be wrong below explains it.
                    let explained = self.misfits.iter().any(|(at, _)| (self.held..size).contains(at));
                    if !explained {
                        self.misfits.push((self.held, Misfit::Root { size, by: claim.by }));
                    }
                }
                None => self.held = size,
            }
        }
        if leaves.len() as u64 == WIDTH {
            self.close(hashed.root, full);
        } else {
            self.open.clone_from(leaves);
        }
    }

    /// A full bundle is behind.
    fn close(&mut self, root: Hash, full: &mut Vec<FullTile>) {
        self.bundles += 1;
        self.open.clear();
        let (mut root, mut count) = (root, self.bundles);
        for level in 1.. {
            if self.upper.len() < level {
                self.upper.push(Vec::with_capacity(WIDTH as usize));
            }
            let hashes = &mut self.upper[level - 1];
            hashes.push(root);
            if hashes.len() as u64 != WIDTH {
                return;
            }
            count /= WIDTH;
            let hashes = std::mem::replace(hashes, Vec::with_capacity(WIDTH as usize));
            let Some(whole) = tile_root(&hashes) else { return };
            full.push(FullTile { id: TileId { level: level as u8, index: count - 1 }, hashes });
            root = whole;
        }
    }

    /// The hashes of the tiles of higher levels that are not full, by their place.
    pub fn unfinished(&self) -> impl Iterator<Item = (TileId, &[Hash])> {
        let tiles = (1u8..).zip(&self.upper).filter(|(_, hashes)| !hashes.is_empty());
        tiles.map(|(level, hashes)| {
            let index = (self.bundles >> (8 * (u32::from(level) - 1))) / WIDTH;
            (TileId { level, index }, hashes.as_slice())
        })
    }

    /// Holds what somebody says are the hashes of a tile of a higher level against those that are computed. Nothing
    /// is said of a hash where something below it does not fit already.
    pub fn against(&mut self, computed: &FullTile, said: &[Hash]) {
        let FullTile { id, hashes } = computed;
        let span = WIDTH.pow(u32::from(id.level));
        compare(*id, hashes, said, span, &mut self.misfits);
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, position: u64, misfit: Misfit) {
        self.misfits.push((position, misfit));
    }

    /// What does not fit, by the first position that it is about. There are no more leaves. A root that is wrong is
    /// about all events since the last one that was right; `known` narrows that down: it tells the first of a range
    /// of positions at which something else is known to be wrong.
    pub fn finish(mut self, known: impl Fn(Range<u64>) -> Option<u64>) -> Vec<(u64, Misfit)> {
        let end = self.size();
        for (size, claims) in std::mem::take(&mut self.claims) {
            for Claim { by, .. } in claims {
                self.misfits.push((end, Misfit::End { size, by }));
            }
        }
        for (position, misfit) in &mut self.misfits {
            if let Misfit::Root { size, .. } = misfit {
                *position = known(*position..*size).unwrap_or(*position);
            }
        }
        self.misfits.sort_by_key(|(position, _)| *position);
        self.misfits
    }
}

/// Holds what somebody says are the hashes of a tile against those that are computed; each is over `span` events.
fn compare(id: TileId, computed: &[Hash], said: &[Hash], span: u64, misfits: &mut Vec<(u64, Misfit)>) {
    let first = id.index * WIDTH * span;
    if said.len() != computed.len() {
        misfits.push((first, Misfit::Width { id, found: said.len(), expected: computed.len() }));
        return;
    }
    for (offset, _) in said.iter().zip(computed).enumerate().filter(|(_, (said, computed))| said != computed)
    {
        let position = first + offset as u64 * span;
        let covered = position..position + span;
        if id.level == 0 {
            misfits.push((position, Misfit::Leaf(id)));
        } else if !misfits.iter().any(|(at, _)| covered.contains(at)) {
            misfits.push((position, Misfit::Node(id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint::Checkpoint;
    use crate::ledger::note::SigningKey;
    use crate::ledger::rfc6962::Frontier;
    use crate::ledger::tile::put_entry;

    fn leaf(index: u64) -> Vec<u8> {
        index.to_be_bytes().to_vec()
    }

    /// Takes so many leaves, with the tiles as they must be; `change` may change the leaf or hash of a position.
    fn check(size: u64, claims: &[u64], change: impl Fn(u64, &mut Vec<u8>)) -> Vec<(u64, Misfit)> {
        let mut right = Frontier::default();
        let mut roots = vec![right.root()];
        let mut check = TreeCheck::default();
        for index in 0..size {
            right.push(leaf_hash(&leaf(index)), |_, _| ());
            roots.push(right.root());
        }
        for claim in claims {
            check.claim(*claim, roots[(*claim).min(size) as usize], "it");
        }
        for first in (0..size).step_by(256) {
            let leaves: Vec<Vec<u8>> = (first..size.min(first + 256))
                .map(|index| {
                    let mut leaf = leaf(index);
                    change(index, &mut leaf);
                    leaf
                })
                .collect();
            let tile: Vec<Hash> = (first..size.min(first + 256)).map(|i| leaf_hash(&leaf(i))).collect();
            let hashed = Hashed::of(leaves.iter().map(Vec::as_slice)).unwrap();
            check.take(&hashed, Some(&tile), &mut Vec::new());
        }
        assert_eq!(check.size(), size);
        if (0..size).all(|index| {
            let mut l = leaf(index);
            change(index, &mut l);
            l == leaf(index)
        }) {
            assert_eq!(check.root(), roots[size as usize]);
        }
        check.finish(|_| None)
    }

    #[test]
    fn an_honest_tree_fits_at_every_size() {
        for size in [0, 1, 2, 255, 256, 257, 511, 512, 1000, 65_536, 65_537, 66_000] {
            let claims: Vec<_> =
                [1, 255, 256, 257, 512, 999, 65_536].into_iter().filter(|c| *c <= size).collect();
            assert_eq!(check(size, &claims, |_, _| ()), [], "{size}");
        }
    }

    #[test]
    fn a_changed_leaf_is_named_and_explains_the_roots_above_it() {
        let found = check(1000, &[100, 700, 1000], |index, leaf| {
            if index == 613 {
                leaf.push(0);
            }
        });
        assert_eq!(found, [(613, Misfit::Leaf(TileId { level: 0, index: 2 }))]);
    }

    #[test]
    fn a_tree_that_is_too_short_ends_where_it_ends() {
        assert_eq!(check(300, &[100, 301], |_, _| ()), [(300, Misfit::End { size: 301, by: "it" })]);
    }

    #[test]
    fn a_root_of_another_history_lies_after_the_last_one_that_held() {
        let mut tree = TreeCheck::default();
        let leaves: Vec<Vec<u8>> = (0..200).map(leaf).collect();
        let hashed = Hashed::of(leaves.iter().map(Vec::as_slice)).unwrap();
        let mut right = Frontier::default();
        for leaf in &leaves[..50] {
            right.push(leaf_hash(leaf), |_, _| ());
        }
        tree.claim(50, right.root(), "it");
        tree.claim(120, leaf_hash(b"another history"), "it");
        tree.take(&hashed, None, &mut Vec::new());
        assert_eq!(tree.finish(|_| None), [(50, Misfit::Root { size: 120, by: "it" })]);
    }

    #[test]
    fn tiles_of_higher_levels_are_told_when_they_are_full() {
        let mut tree = TreeCheck::default();
        let leaves: Vec<Vec<u8>> = (0..256).map(leaf).collect();
        let hashed = Hashed::of(leaves.iter().map(Vec::as_slice)).unwrap();
        let mut told = Vec::new();
        for _ in 0..257 {
            tree.take(&hashed, None, &mut told);
        }
        let [told] = &told[..] else { panic!("{told:?}") };
        assert_eq!((told.id, told.hashes.len()), (TileId { level: 1, index: 0 }, 256));
        let unfinished: Vec<_> = tree.unfinished().map(|(id, hashes)| (id, hashes.len())).collect();
        assert_eq!(unfinished, [(TileId { level: 1, index: 1 }, 1), (TileId { level: 2, index: 0 }, 1)]);
    }

    #[test]
    fn a_bundle_that_is_cut_short_has_no_hashes() {
        let mut bundle = Vec::new();
        for index in 0..3 {
            crate::ledger::tile::put_entry(&mut bundle, &leaf(index)).unwrap();
        }
        let hashed = Hashed::of_bundle(&bundle).unwrap();
        assert_eq!(hashed.leaves[2], leaf_hash(&leaf(2)));
        for end in 1..bundle.len() {
            let whole = end % 10 == 0;
            assert_eq!(Hashed::of_bundle(&bundle[..end]).is_some(), whole, "{end}");
        }
        assert_eq!(Hashed::of_bundle(&[]), None);
    }

    /// A ledger of 1000 entries as it is served: checkpoint, five tiles, four bundles.
    const ORIGIN: &str = "ledger.rota.example/prod";

    struct Served {
        files: Vec<Vec<u8>>,
        /// The bundles among them, hashed; each is hashed again when it changes.
        hashed: Vec<Option<Hashed>>,
        key: SigningKey,
    }

    /// The first bundle among the files.
    const BUNDLES: usize = 6;

    impl Served {
        fn new() -> Self {
            let key = SigningKey::of_log(ORIGIN, &[1; 32]).unwrap();
            let (mut edge, mut full) = (Edge::default(), Vec::new());
            let entry = |index: u64| {
                let rest = "\"time\":\"2026-06-01T00:00:00Z\",\"type\":\"secret.rotated\"}";
                format!("{{\"credential\":\"crd_{index:04}\",\"seq\":{index},{rest}").into_bytes()
            };
            let mut bundles = vec![Vec::new(); 4];
            for index in 0..1000u64 {
                edge.push(leaf_hash(&entry(index)), &mut full);
                put_entry(&mut bundles[(index / 256) as usize], &entry(index)).unwrap();
            }
            let root = edge.root();
            let note = Checkpoint { origin: ORIGIN.into(), size: 1000, root }.sign(&[&key]);
            let mut files = vec![note.into_bytes()];
            let mut tiles: Vec<_> = full.into_iter().map(|tile| (tile.id, tile.hashes)).collect();
            for (id, _) in Edge::needs(1000) {
                tiles.push((id, edge.open_tile(id).unwrap().to_vec()));
            }
            tiles.sort_by_key(|(id, _)| *id);
            files
                .extend(tiles.iter().map(|(_, hashes)| hashes.iter().flat_map(|h| h.0).collect::<Vec<u8>>()));
            let hashed = bundles.iter().map(|bundle| Hashed::of_bundle(bundle)).collect();
            files.extend(bundles);
            Self { files, hashed, key }
        }

        fn bits(&self) -> usize {
            self.files.iter().map(|file| file.len() * 8).sum()
        }

        fn holds(&self) -> bool {
            let hashes =
                |file: &[u8]| file.as_chunks::<32>().0.iter().map(|hash| Hash(*hash)).collect::<Vec<_>>();
            let note = String::from_utf8(self.files[0].clone());
            let Some(checkpoint) =
                note.ok().and_then(|note| Checkpoint::open(&note, self.key.verifier()).ok())
            else {
                return false;
            };
            let mut check = TreeCheck::default();
            check.claim(checkpoint.size, checkpoint.root, "it");
            for (hashed, tile) in self.hashed.iter().zip(&self.files[1..]) {
                let Some(hashed) = hashed else { return false };
                check.take(hashed, Some(&hashes(tile)), &mut Vec::new());
            }
            let unfinished: Vec<_> =
                check.unfinished().map(|(id, hashes)| FullTile { id, hashes: hashes.to_vec() }).collect();
            for tile in &unfinished {
                check.against(tile, &hashes(&self.files[5]));
            }
            check.finish(|_| None).is_empty()
        }

        fn flip(&mut self, mut bit: usize) {
            for (number, file) in self.files.iter_mut().enumerate() {
                if bit < file.len() * 8 {
                    file[bit / 8] ^= 1 << (bit % 8);
                    if let Some(bundle) = number.checked_sub(BUNDLES) {
                        self.hashed[bundle] = Hashed::of_bundle(file);
                    }
                    return;
                }
                bit -= file.len() * 8;
            }
        }

        fn flip_every(&mut self, first: usize, step: usize) {
            assert!(self.holds());
            for bit in (first..self.bits()).step_by(step) {
                self.flip(bit);
                assert!(!self.holds(), "bit {bit} of {}", self.bits());
                self.flip(bit);
            }
            assert!(self.holds());
        }
    }

    #[test]
    fn a_changed_bit_of_a_served_ledger_is_found() {
        // A step without a factor in common with the size of anything.
        Served::new().flip_every(0, 1_009);
    }

    /// All of them: `cargo test -p rota --lib -- --ignored every_changed_bit_of_a_served`.
    #[test]
    #[ignore = "all of them take minutes"]
    fn every_changed_bit_of_a_served_ledger_is_found() {
        // A signed note, 5 tiles and 4 bundles.
        assert_eq!((Served::new().files.len(), Served::new().bits()), (10, 985_472));
        let threads = std::thread::available_parallelism().map_or(1, Into::into);
        std::thread::scope(|scope| {
            for first in 0..threads {
                scope.spawn(move || Served::new().flip_every(first, threads));
            }
        });
    }
}
