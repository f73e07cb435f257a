-- The audit index in sorted runs instead of a row for each event and facet: a row went to a random page, and each
-- such page was written twice. What was folded before is folded again.
DROP TABLE audit;
DROP TABLE ended_versions;
DELETE FROM credentials;
DELETE FROM checkpoint;

-- A run holds the index of the events from `first` up to `next`, exclusive. Runs do not overlap. Some of one level
-- become one of the next.
CREATE TABLE runs (
    first INTEGER PRIMARY KEY,
    next  INTEGER NOT NULL,
    run   INTEGER NOT NULL,
    level INTEGER NOT NULL
) STRICT;

-- The entries of a run, sorted by key and position. Pages without a run are left from a merge that did not end.
CREATE TABLE pages (
    id       INTEGER PRIMARY KEY,      -- the run's number and the page's number in it
    run      INTEGER NOT NULL,
    key      INTEGER NOT NULL,         -- of its first entry
    position INTEGER NOT NULL,         -- of its first entry
    data     BLOB NOT NULL
) STRICT;
CREATE INDEX pages_by_key ON pages (run, key, position);

-- Versions that have ended and whose digests are kept for a while, many to a row.
CREATE TABLE ended_versions (
    id        INTEGER PRIMARY KEY,
    workspace BLOB NOT NULL,
    oldest    INTEGER NOT NULL,        -- when the first of them ended, in seconds since 1970
    entries   BLOB NOT NULL            -- sorted: when it ended, whose it is, version
) STRICT;
CREATE INDEX ended_by_workspace ON ended_versions (workspace, oldest);
