-- What can be dropped and folded again from the ledger. It lives in a file of its own, so that writing it
-- never waits for the ledger's writer nor makes it wait.
CREATE TABLE checkpoint (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL          -- the next position to fold
) STRICT, WITHOUT ROWID;

-- The audit trail's index: which events have which facet.
CREATE TABLE audit (
    dimension INTEGER NOT NULL,
    key       BLOB NOT NULL,
    position  INTEGER NOT NULL,
    PRIMARY KEY (dimension, key, position)
) STRICT, WITHOUT ROWID;

-- Which credentials there are, by workspace and order of issue.
CREATE TABLE credentials (
    position  INTEGER PRIMARY KEY,     -- of the event that issued it
    id        BLOB NOT NULL,
    workspace BLOB NOT NULL,
    kind      TEXT NOT NULL,
    parent    BLOB,
    revoked   INTEGER NOT NULL         -- the position of its revocation; -1 while it lives
) STRICT;
CREATE INDEX credentials_by_workspace ON credentials (workspace, kind, position, revoked);
CREATE INDEX credentials_by_id ON credentials (id);
CREATE INDEX credentials_by_parent ON credentials (parent) WHERE parent IS NOT NULL;

-- Versions that have ended and whose digests are kept for a while.
CREATE TABLE ended_versions (
    workspace  BLOB NOT NULL,
    ended      INTEGER NOT NULL,       -- seconds since 1970
    credential BLOB NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (workspace, ended, credential, version)
) STRICT, WITHOUT ROWID;
