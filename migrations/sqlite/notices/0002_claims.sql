-- Whoever attempts a delivery claims it first, for a time.
ALTER TABLE deliveries ADD COLUMN claim INTEGER NOT NULL DEFAULT 0;    -- how often it was claimed
ALTER TABLE deliveries ADD COLUMN claimed INTEGER;                     -- until when it is; microseconds since 1970
