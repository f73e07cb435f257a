-- The ledger. `events` is append-only and has no index beside its key: every other index on it would be
-- written at a random place for every event, which costs more than the event itself.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,      -- from 0, without gaps: written by the program, never by SQLite
    leaf     BLOB NOT NULL             -- the bytes of the record; never changed, never re-encoded
) STRICT;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never deleted');
END;

-- What is sealed beside an event. It becomes durable with the event and can be destroyed without it.
-- A part's ciphertext never changes (the event has its SHA-256); its wrapped key does when the master key does.
CREATE TABLE sealed (
    position    INTEGER PRIMARY KEY,
    digest      BLOB,                  -- keyed digest of the secret that the event brought
    secret      BLOB,                  -- the secret itself, where it must be recoverable
    secret_key  BLOB,
    answer      BLOB,                  -- the answer kept for a retry
    answer_key  BLOB,
    details     BLOB,                  -- client address, user agent, names and free text
    details_key BLOB
) STRICT;

CREATE TRIGGER sealed_rows_are_never_deleted BEFORE DELETE ON sealed
BEGIN
    SELECT RAISE(ABORT, 'sealed rows are emptied part by part, never deleted');
END;

-- Named values of the deployment: the wrapped long-lived keys, the digest of the operator key.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Observations of use that are not worth an event each: written along with the next commit.
CREATE TABLE secret_use (
    credential BLOB PRIMARY KEY,
    version    INTEGER NOT NULL,
    first_used INTEGER NOT NULL,       -- seconds since 1970
    last_used  INTEGER NOT NULL        -- seconds since 1970, to the minute
) STRICT, WITHOUT ROWID;
