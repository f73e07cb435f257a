//! Proofs over the tree as it is stored: tiles gathered, hashes assembled, and checked before anybody gets them.

use std::collections::HashMap;

use rota_aggregates::ids::Hash;

use crate::ledger::proof::{Plan, check_consistency, root_plan};
use crate::ledger::tile::{Edge, TileId, WIDTH};
use crate::log::{EventLog, LogError, tree};

/// The tree of so many events, and where its hashes are.
#[derive(Clone, Copy)]
pub struct Trunk<'a> {
    /// Where full tiles are, or the leaves that they follow from.
    pub log: &'a dyn EventLog,
    /// The edge of the whole tree.
    pub edge: &'a Edge,
}

fn unfit() -> LogError {
    LogError::Corrupt("the tree's tiles do not lead to its root: see `rota verify`".to_owned())
}

impl Trunk<'_> {
    /// The hashes that the tree has of a tile.
    pub async fn tile(&self, id: TileId) -> Result<Vec<Hash>, LogError> {
        if let Some(open) = self.edge.open_tile(id) {
            return Ok(open.to_vec());
        }
        tree::hashes(self.log, id, WIDTH).await
    }

    /// The hashes of a plan for this tree, or for a smaller one.
    pub async fn assemble(&self, plan: &Plan) -> Result<Vec<Hash>, LogError> {
        let mut tiles = HashMap::new();
        for id in plan.tiles() {
            tiles.insert(id, self.tile(id).await?);
        }
        plan.assemble(|id| tiles.get(&id).map(Vec::as_slice)).ok_or_else(unfit)
    }

    /// The root over the first `size` events, which is proved to be the beginning of this tree.
    pub async fn root_of(&self, size: u64) -> Result<Option<Hash>, LogError> {
        if size == self.edge.size() {
            return Ok(Some(self.edge.root()));
        }
        let Some(plan) = Plan::consistency(size, self.edge.size()) else { return Ok(None) };
        let root = self.assemble(&root_plan(size)).await?.into_iter().next().ok_or_else(unfit)?;
        let proof = self.assemble(&plan).await?;
        check_consistency(size, &root, self.edge.size(), &self.edge.root(), &proof).map_err(|_| unfit())?;
        Ok(Some(root))
    }
}
