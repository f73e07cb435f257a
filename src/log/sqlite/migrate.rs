//! The schemas of SQLite files.

use crate::log::migrate::Migrations;

/// The ledger's migrations.
pub const LEDGER: Migrations = &[
    (1, "ledger", include_str!("../../../migrations/sqlite/0001_ledger.sql")),
    (2, "tree", include_str!("../../../migrations/sqlite/0002_tree.sql")),
];

/// The views' migrations.
pub const VIEWS: Migrations = &[
    (1, "views", include_str!("../../../migrations/sqlite/views/0001_views.sql")),
    (2, "runs", include_str!("../../../migrations/sqlite/views/0002_runs.sql")),
];

/// The migrations of the notices.
pub const NOTICES: Migrations = &[
    (1, "notices", include_str!("../../../migrations/sqlite/notices/0001_notices.sql")),
    (2, "claims", include_str!("../../../migrations/sqlite/notices/0002_claims.sql")),
];
