-- The Merkle tree over the events, as far as its tiles are full: each is written with the event that fills it. They
-- follow from the leaves, and so one that is missing can be computed again; none ever changes.
CREATE TABLE tiles (
    level  smallint NOT NULL,
    index  bigint   NOT NULL,
    hashes bytea    NOT NULL,           -- 256 hashes of 32 bytes
    PRIMARY KEY (level, index)
);
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TRIGGER tiles_are_never_changed BEFORE UPDATE OR DELETE ON tiles
    FOR EACH ROW EXECUTE FUNCTION refuse_change('tiles are never changed nor deleted');
CREATE TRIGGER tiles_are_never_truncated BEFORE TRUNCATE ON tiles
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('tiles are never changed nor deleted');

-- Signed roots that are kept for those who ask about the past.
CREATE TABLE checkpoints (
    size  bigint PRIMARY KEY,           -- of how many events
    root  bytea  NOT NULL,
    time  bigint NOT NULL,              -- microseconds since 1970
    token bigint NOT NULL,
    note  text   NOT NULL
);
CREATE INDEX checkpoints_by_time ON checkpoints (time);

-- The root that was signed last.
CREATE TABLE signed (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    size  bigint NOT NULL,
    root  bytea  NOT NULL,
    time  bigint NOT NULL,
    token bigint NOT NULL,              -- the signer's lease: a deposed signer's is lower
    note  text   NOT NULL
);

CREATE FUNCTION put_tiles(levels smallint[], indexes bigint[], hashes bytea[]) RETURNS void LANGUAGE sql VOLATILE AS
$$ INSERT INTO tiles SELECT * FROM unnest(levels, indexes, hashes) ON CONFLICT DO NOTHING $$;

-- As `append_batch`, for a batch that fills tiles.
CREATE FUNCTION append_batch_with_tiles(
    first bigint, attempted bytea,
    types text[], ids text[], sequences bigint[], names text[], versions text[], payloads text[], leaves bytea[],
    digests bytea[], secrets bytea[], secret_keys bytea[], answers bytea[], answer_keys bytea[],
    notes bytea[], note_keys bytea[],
    claimed_keys bytea[], claimed_positions bigint[], claimed_times bigint[],
    shred_digests bigint[], shred_secrets bigint[], shred_answers bigint[], shred_notes bigint[],
    used bytea[], used_versions bigint[], used_firsts bigint[], used_lasts bigint[],
    tile_levels smallint[], tile_indexes bigint[], tile_hashes bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    tip bigint;
BEGIN
    tip := append_batch(first, attempted, types, ids, sequences, names, versions, payloads, leaves, digests, secrets,
        secret_keys, answers, answer_keys, notes, note_keys, claimed_keys, claimed_positions, claimed_times,
        shred_digests, shred_secrets, shred_answers, shred_notes, used, used_versions, used_firsts, used_lasts);
    IF tip = first THEN
        PERFORM put_tiles(tile_levels, tile_indexes, tile_hashes);
    END IF;
    RETURN tip;
END $$;

-- Takes a root for the one that was signed last, unless somebody else has signed in between. Without a flush: what a
-- server that crashes forgets of it is signed again, byte for byte, over events that it does not forget.
CREATE FUNCTION sign_root(
    new_size bigint, new_root bytea, new_time bigint, new_token bigint, new_note text, before bigint, keep boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    signed_now boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF before IS NULL THEN
        INSERT INTO signed (size, root, time, token, note)
        VALUES (new_size, new_root, new_time, new_token, new_note) ON CONFLICT DO NOTHING;
    ELSE
        UPDATE signed SET size = new_size, root = new_root, time = new_time, token = new_token, note = new_note
        WHERE size = before AND token <= new_token;
    END IF;
    signed_now := FOUND;
    IF signed_now AND keep THEN
        PERFORM keep_checkpoint(new_size, new_root, new_time, new_token, new_note);
    END IF;
    RETURN signed_now;
END $$;

CREATE FUNCTION keep_checkpoint(of_size bigint, of_root bytea, of_time bigint, of_token bigint, of_note text)
RETURNS void LANGUAGE sql VOLATILE AS
$$ INSERT INTO checkpoints (size, root, time, token, note) VALUES (of_size, of_root, of_time, of_token, of_note)
   ON CONFLICT (size) DO UPDATE SET note = excluded.note WHERE checkpoints.root = excluded.root $$;
