-- What is not history: how far the feed was read for notices, and what became of them. Every replica reads it, and
-- the one that tells writes it; nothing of it is part of a change to the ledger.
CREATE TABLE notice_cursor (
    name     text   PRIMARY KEY,
    position bigint NOT NULL            -- the next event to look at
);

-- One notice to one webhook.
CREATE TABLE notice_deliveries (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    claim    bigint NOT NULL DEFAULT 0, -- how often it was claimed for an attempt
    claimed  bigint,                    -- until when it is; microseconds since 1970
    webhook  bytea  NOT NULL,
    notice   bytea  NOT NULL,
    type     text   NOT NULL,
    position bigint,                    -- of the event that it tells of
    payload  text   NOT NULL,
    state    text   NOT NULL,           -- waiting, delivered, failed, dropped
    tries    bigint NOT NULL,           -- since it was made, or last asked for
    attempts text   NOT NULL,           -- the last ones, as JSON
    created  bigint NOT NULL,           -- microseconds since 1970
    next     bigint,                    -- the same, while it waits
    UNIQUE (webhook, notice)
);
CREATE INDEX notice_deliveries_by_webhook ON notice_deliveries (webhook, number);
CREATE INDEX notice_deliveries_that_wait ON notice_deliveries (webhook, next) WHERE next IS NOT NULL;

-- How each webhook does. Whoever changes deliveries of a webhook locks its row here first.
CREATE TABLE notice_health (
    webhook      bytea  PRIMARY KEY,
    waiting      bigint NOT NULL,       -- its deliveries that wait
    failures     bigint NOT NULL,       -- failed attempts since the last that succeeded
    last_success bigint,
    last_failure bigint
);
