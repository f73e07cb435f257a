//! The SQL of an append: a whole batch in one statement text, so that it takes one hop to SQLite's thread.
//!
//! The texts exist for a few sizes only, and so stay prepared. A batch between two sizes is padded with rows
//! whose position is NULL, which the statement passes over.

use std::sync::OnceLock;

/// The sizes for which there is a statement.
const SIZES: [usize; 13] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/// The most rows that one statement takes.
pub const ROWS_MAX: usize = SIZES[SIZES.len() - 1];

/// The smallest statement that takes so many rows.
pub fn size_for(rows: usize) -> usize {
    SIZES.into_iter().find(|size| *size >= rows).unwrap_or(ROWS_MAX)
}

/// The number of a part's column among those of `sealed`.
const SEALED_COLUMNS: &str = "position, digest, secret, secret_key, answer, answer_key, details, details_key";

/// Inserts `size` rows and commits. With `extras`, the lists of [`EXTRAS`] follow the rows, and with `tiles` the
/// tiles of [`TILES`] come last.
pub fn append(size: usize, extras: bool, tiles: bool) -> &'static str {
    static TEXTS: OnceLock<Vec<[String; 4]>> = OnceLock::new();
    let all = |size: &usize| {
        [(false, false), (true, false), (false, true), (true, true)].map(|(e, t)| text(*size, e, t))
    };
    let texts = TEXTS.get_or_init(|| SIZES.iter().map(all).collect());
    let index = SIZES.iter().position(|known| *known == size).unwrap_or(SIZES.len() - 1);
    &texts[index][usize::from(extras) + 2 * usize::from(tiles)]
}

fn values(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

fn text(size: usize, extras: bool, tiles: bool) -> String {
    let mut sql = format!(
        "BEGIN IMMEDIATE;\
         INSERT INTO events (position, leaf) SELECT column1, column2 FROM (VALUES {}) WHERE column1 IS NOT NULL;\
         INSERT INTO sealed ({SEALED_COLUMNS}) SELECT * FROM (VALUES {}) WHERE column1 IS NOT NULL;",
        values(size, 2),
        values(size, 8),
    );
    if extras {
        sql.push_str(EXTRAS);
    }
    if tiles {
        sql.push_str(TILES);
    }
    sql.push_str("COMMIT");
    sql
}

/// Destroys parts and notes uses: lists in JSON of positions of digests, secrets, answers and details, and of marks.
pub const EXTRAS: &str = "\
    UPDATE sealed SET digest = NULL WHERE position IN (SELECT value FROM json_each(?));\
    UPDATE sealed SET secret = NULL, secret_key = NULL WHERE position IN (SELECT value FROM json_each(?));\
    UPDATE sealed SET answer = NULL, answer_key = NULL WHERE position IN (SELECT value FROM json_each(?));\
    UPDATE sealed SET details = NULL, details_key = NULL WHERE position IN (SELECT value FROM json_each(?));\
    INSERT INTO secret_use (credential, version, first_used, last_used) \
    SELECT unhex(value->>0), value->>1, value->>2, value->>3 FROM json_each(?) WHERE true \
    ON CONFLICT (credential) DO UPDATE SET version = excluded.version, \
    first_used = excluded.first_used, last_used = excluded.last_used;";

/// So many rows of [`ROWS_MAX`] fill at most: one tile of each level.
pub const TILES_MAX: usize = 8;

/// Keeps tiles; rows without an id are passed over.
pub const TILES: &str = "\
    INSERT OR IGNORE INTO tiles (id, hashes) SELECT column1, column2 FROM \
    (VALUES (?,?),(?,?),(?,?),(?,?),(?,?),(?,?),(?,?),(?,?)) WHERE column1 IS NOT NULL;";
