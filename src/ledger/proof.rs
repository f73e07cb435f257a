//! Inclusion and consistency proofs (RFC 9162 sections 2.1.3 and 2.1.4): planned from sizes alone, assembled from
//! tiles, checked with nothing but hashes.

use std::collections::BTreeSet;

use rota_aggregates::ids::Hash;

use super::rfc6962::{fold, node_hash};
use super::tile::{Subtree, TileId, perfect_root};

/// A proof does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the proof does not fit")]
pub struct BadProof;

/// Which hashes a proof consists of, each the root over a range of leaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    hashes: Vec<Vec<Subtree>>,
}

impl Plan {
    /// That leaf `index` is in the tree of `size` leaves. `None` if it can't be.
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        let mut plan = Self::default();
        (index < size).then(|| {
            plan.path(index, 0, size);
            plan
        })
    }

    /// That the tree of `old` leaves is the beginning of that of `new`. `None` unless `1 <= old <= new`: every
    /// root fits an empty tree, so there is nothing to prove from it.
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        let mut plan = Self::default();
        (1 <= old && old <= new).then(|| {
            plan.subproof(old, 0, new, true);
            plan
        })
    }

    /// The tiles that hold what is needed.
    pub fn tiles(&self) -> BTreeSet<TileId> {
        self.hashes.iter().flatten().map(|subtree| subtree.place().0).collect()
    }

    /// The proof's hashes, from tiles that hold at least what the tree of the planned size has. `None` if `tile`
    /// has not what is needed.
    pub fn assemble<'a>(&self, tile: impl Fn(TileId) -> Option<&'a [Hash]>) -> Option<Vec<Hash>> {
        let root = |subtree: &Subtree| {
            let (id, first, count) = subtree.place();
            perfect_root(tile(id)?.get(first..first + count)?)
        };
        let range = |subtrees: &Vec<Subtree>| fold(&subtrees.iter().map(root).collect::<Option<Vec<_>>>()?);
        self.hashes.iter().map(range).collect()
    }

    fn path(&mut self, index: u64, first: u64, end: u64) {
        if end - first == 1 {
            return;
        }
        let middle = first + split(end - first);
        if index < middle {
            self.path(index, first, middle);
            self.push(middle, end);
        } else {
            self.path(index, middle, end);
            self.push(first, middle);
        }
    }

    fn subproof(&mut self, old: u64, first: u64, end: u64, known: bool) {
        let size = end - first;
        if old == size {
            if !known {
                self.push(first, end);
            }
            return;
        }
        let k = split(size);
        if old <= k {
            self.subproof(old, first, first + k, known);
            self.push(first + k, end);
        } else {
            self.subproof(old - k, first + k, end, false);
            self.push(first, first + k);
        }
    }

    fn push(&mut self, first: u64, end: u64) {
        self.hashes.push(subtrees(first, end));
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The perfect subtrees of a range that begins where a subtree as large as it may begin, largest first.
fn subtrees(mut first: u64, end: u64) -> Vec<Subtree> {
    let mut found = Vec::new();
    while first < end {
        let height = (end - first).ilog2();
        found.push(Subtree { height, index: first >> height });
        first += 1 << height;
    }
    found
}

/// The hashes over which the root of the first `size` leaves is folded: as a plan of one hash.
pub fn root_plan(size: u64) -> Plan {
    let hashes = if size == 0 { Vec::new() } else { vec![subtrees(0, size)] };
    Plan { hashes }
}

/// Checks that `leaf` is at `index` of the tree with this size and root (RFC 9162 section 2.1.3.2). Size and root
/// must come together from one signed checkpoint: a proof does not bind the size.
pub fn check_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(BadProof);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(BadProof) }
}

/// Checks that the tree of `old` leaves with root `old_root` is the beginning of that of `new` (RFC 9162 section
/// 2.1.4.2).
pub fn check_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), BadProof> {
    if old == 0 || old > new {
        return Err(BadProof);
    }
    if old == new {
        return if proof.is_empty() && old_root == new_root { Ok(()) } else { Err(BadProof) };
    }
    let mut hashes = proof.iter();
    let start = if old.is_power_of_two() { old_root } else { hashes.next().ok_or(BadProof)? };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*start, *start);
    for sibling in hashes {
        if last == 0 {
            return Err(BadProof);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(BadProof) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::rfc6962::leaf_hash;
    use crate::ledger::tile::Edge;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    /// Every tile of a tree, and its root at every size.
    struct Tree {
        tiles: HashMap<TileId, Vec<Hash>>,
        roots: Vec<Hash>,
    }

    impl Tree {
        fn of(size: u64) -> Self {
            let (mut edge, mut full) = (Edge::default(), Vec::new());
            let mut roots = vec![edge.root()];
            for index in 0..size {
                edge.push(leaf(index), &mut full);
                roots.push(edge.root());
            }
            let mut tiles: HashMap<_, _> = full.into_iter().map(|tile| (tile.id, tile.hashes)).collect();
            for (id, _) in Edge::needs(size) {
                tiles.insert(id, edge.open_tile(id).unwrap_or_default().to_vec());
            }
            Self { tiles, roots }
        }

        fn prove(&self, plan: &Plan) -> Vec<Hash> {
            plan.assemble(|id| self.tiles.get(&id).map(Vec::as_slice)).unwrap_or_default()
        }
    }

    #[test]
    fn there_is_no_proof_of_what_is_not_there() {
        assert_eq!(Plan::inclusion(5, 5), None);
        assert_eq!(Plan::inclusion(0, 0), None);
        assert_eq!(Plan::consistency(0, 5), None);
        assert_eq!(Plan::consistency(6, 5), None);
        assert_eq!(Plan::consistency(5, 5), Some(Plan::default()));
        let root = leaf(0);
        assert_eq!(check_inclusion(&root, 0, 0, &root, &[]), Err(BadProof));
        assert_eq!(check_consistency(0, &root, 5, &root, &[]), Err(BadProof));
    }

    #[test]
    fn roots_of_the_past_come_from_tiles_of_the_present() {
        let tree = Tree::of(1_300);
        for size in [1u64, 2, 255, 256, 257, 1_000, 1_300] {
            assert_eq!(tree.prove(&root_plan(size)), [tree.roots[size as usize]]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn proofs_are_those_of_another_implementation(size in 2u64..900, a in any::<u64>(), b in any::<u64>()) {
            let tree = Tree::of(size);
            let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, _>::new();
            for index in 0..size {
                theirs.push(index.to_be_bytes());
            }
            let root = tree.roots[size as usize];
            prop_assert_eq!(theirs.root().as_bytes().to_vec(), root.0.to_vec());

            let index = a % size;
            let path = tree.prove(&Plan::inclusion(index, size).unwrap_or_default());
            let bytes: Vec<u8> = path.iter().flat_map(|hash| hash.0).collect();
            prop_assert_eq!(theirs.prove_inclusion(index as usize).as_bytes().to_vec(), bytes);
            prop_assert_eq!(check_inclusion(&leaf(index), index, size, &root, &path), Ok(()));
            prop_assert_eq!(check_inclusion(&leaf(index + 1), index, size, &root, &path), Err(BadProof));

            let old = 1 + b % size;
            let links = tree.prove(&Plan::consistency(old, size).unwrap_or_default());
            if old < size {
                let bytes: Vec<u8> = links.iter().flat_map(|hash| hash.0).collect();
                prop_assert_eq!(theirs.prove_consistency((size - old) as usize).as_bytes().to_vec(), bytes);
            }
            let old_root = tree.roots[old as usize];
            prop_assert_eq!(check_consistency(old, &old_root, size, &root, &links), Ok(()));
            prop_assert!(check_consistency(old, &leaf(0), size, &root, &links).is_err() || old_root == leaf(0));
        }

        #[test]
        fn a_changed_proof_is_refused(size in 2u64..600, a in any::<u64>(), bit in any::<usize>()) {
            let tree = Tree::of(size);
            let (index, root) = (a % size, tree.roots[size as usize]);
            let mut path = tree.prove(&Plan::inclusion(index, size).unwrap_or_default());
            let bit = bit % (path.len() * 256);
            path[bit / 256].0[bit % 256 / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(check_inclusion(&leaf(index), index, size, &root, &path), Err(BadProof));
        }

        #[test]
        fn no_proof_makes_the_check_panic(
            index in any::<u64>(), size in any::<u64>(), hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70),
        ) {
            let proof: Vec<Hash> = hashes.into_iter().map(Hash).collect();
            prop_assert_eq!(check_inclusion(&leaf(0), index, size, &leaf(1), &proof), Err(BadProof));
            prop_assert_eq!(check_consistency(index, &leaf(0), size, &leaf(1), &proof), Err(BadProof));
        }
    }
}
