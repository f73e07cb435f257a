-- The Merkle tree over the events, as far as its tiles are full: each is written with the event that fills it. They
-- follow from the leaves, and so one that is missing can be computed again; none ever changes.
CREATE TABLE tiles (
    id     INTEGER PRIMARY KEY,        -- level · 2^56 + index in the level
    hashes BLOB NOT NULL               -- 256 hashes of 32 bytes
) STRICT;

CREATE TRIGGER tiles_are_never_changed BEFORE UPDATE ON tiles
BEGIN
    SELECT RAISE(ABORT, 'tiles are never changed');
END;

CREATE TRIGGER tiles_are_never_deleted BEFORE DELETE ON tiles
BEGIN
    SELECT RAISE(ABORT, 'tiles are never deleted');
END;

-- Signed roots that are kept for those who ask about the past.
CREATE TABLE checkpoints (
    size  INTEGER PRIMARY KEY,         -- of how many events
    root  BLOB NOT NULL,
    time  INTEGER NOT NULL,            -- microseconds since 1970
    token INTEGER NOT NULL,
    note  TEXT NOT NULL
) STRICT;

-- The root that was signed last.
CREATE TABLE signed (
    one   INTEGER PRIMARY KEY CHECK (one = 0),
    size  INTEGER NOT NULL,
    root  BLOB NOT NULL,
    time  INTEGER NOT NULL,
    token INTEGER NOT NULL,
    note  TEXT NOT NULL
) STRICT;
