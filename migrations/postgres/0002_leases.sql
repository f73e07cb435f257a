-- Which process does a job that is done once for all. A lease is free when its time is over, by this server's clock.
CREATE TABLE leases (
    name   text        PRIMARY KEY,
    holder bytea       NOT NULL,
    token  bigint      NOT NULL,        -- grows with each change of the holder
    until  timestamptz NOT NULL
);
