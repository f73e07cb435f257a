-- What is not history: how far the feed was read for notices, and what became of them. It lives in a file of
-- its own, so that telling others never waits for the ledger's writer nor makes it wait.
CREATE TABLE cursor (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL          -- the next event to look at
) STRICT, WITHOUT ROWID;

-- One notice to one webhook.
CREATE TABLE deliveries (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook  BLOB NOT NULL,
    notice   BLOB NOT NULL,
    type     TEXT NOT NULL,
    position INTEGER,                  -- of the event that it tells of
    payload  TEXT NOT NULL,
    state    TEXT NOT NULL,            -- waiting, delivered, failed, dropped
    tries    INTEGER NOT NULL,         -- since it was made, or last asked for
    attempts TEXT NOT NULL,            -- the last ones, as JSON
    created  INTEGER NOT NULL,         -- microseconds since 1970
    next     INTEGER,                  -- the same, while it waits
    UNIQUE (webhook, notice)
) STRICT;
CREATE INDEX deliveries_by_webhook ON deliveries (webhook, number);
CREATE INDEX deliveries_that_wait ON deliveries (webhook, next) WHERE next IS NOT NULL;

-- How each webhook does.
CREATE TABLE health (
    webhook      BLOB PRIMARY KEY,
    waiting      INTEGER NOT NULL,     -- its deliveries that wait
    failures     INTEGER NOT NULL,     -- failed attempts since the last that succeeded
    last_success INTEGER,
    last_failure INTEGER
) STRICT, WITHOUT ROWID;
