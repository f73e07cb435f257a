-- The ledger, in the tables of `postgres-es`: the first seven columns of `events` are that library's, so that it
-- reads streams and writes single items here as anywhere. The others make a ledger of it.
CREATE TABLE events (
    aggregate_type text   NOT NULL,
    aggregate_id   text   NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence >= 0),
    event_type     text   NOT NULL,
    event_version  text   NOT NULL,
    payload        json   NOT NULL,     -- what the library reads; the truth is the leaf
    metadata       json   NOT NULL,     -- empty once stored: the trigger moves what came in it
    position       bigint NOT NULL CHECK (position >= 0),   -- from 0, without gaps: given by the trigger alone
    leaf           bytea  NOT NULL,     -- the bytes of the record; never changed, never re-encoded
    CONSTRAINT events_pkey PRIMARY KEY (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_position UNIQUE (position)
);

-- What is sealed beside an event. It becomes durable with the event and can be destroyed without it.
-- A part's ciphertext never changes (the event has its SHA-256); its wrapped key does when the master key does.
CREATE TABLE sealed (
    position    bigint PRIMARY KEY,
    digest      bytea,                  -- keyed digest of the secret that the event brought
    secret      bytea,                  -- the secret itself, where it must be recoverable
    secret_key  bytea,
    answer      bytea,                  -- the answer kept for a retry
    answer_key  bytea,
    details     bytea,                  -- client address, user agent, names and free text
    details_key bytea
);

-- The idempotency keys that can't be used again yet. rota knows them from the events; this is the second lock on
-- the same door, for a writer that does not know.
CREATE TABLE claims (
    key        bytea  PRIMARY KEY,
    position   bigint NOT NULL,         -- of the event that claimed it
    expires_at bigint NOT NULL          -- microseconds since 1970, by the ledger's time; half-open
);
CREATE INDEX claims_by_end ON claims (expires_at);

-- Named values of the deployment: the wrapped long-lived keys, the digest of the operator key.
CREATE TABLE meta (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);

-- Observations of use that are not worth an event each: written along with the next commit.
CREATE TABLE secret_use (
    credential bytea  PRIMARY KEY,
    version    bigint NOT NULL,
    first_used bigint NOT NULL,         -- seconds since 1970
    last_used  bigint NOT NULL          -- seconds since 1970, to the minute
);

-- Attempts to append whose connection was lost, and whose writer has told its callers that nothing was recorded.
-- The server may still be at work on such a one: what is listed here can't come in late.
CREATE TABLE given_up (
    attempt bytea PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION next_position() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT coalesce(max(position), -1) + 1 FROM events $$;

-- What tells this ledger from another in a schema beside it.
CREATE FUNCTION ledger_number() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT 'events'::regclass::oid::bigint $$;

-- One writer at a time, until its transaction ends. Every way into `events` takes this first, and so nobody can
-- wait for another in a circle. The upper half of the number is rota's among the users of advisory locks.
CREATE FUNCTION lock_ledger() RETURNS void LANGUAGE sql VOLATILE AS
$$ SELECT pg_advisory_xact_lock((1919907937::bigint << 32) | ledger_number()) $$;

-- Tells who listens how far the log is, when this commits: a hint with no data in it.
CREATE FUNCTION tell_growth(tip bigint) RETURNS void LANGUAGE sql VOLATILE AS
$$ SELECT pg_notify('rota_events_' || ledger_number(), tip::text) $$;

CREATE FUNCTION claim_keys(keys bytea[], positions bigint[], times bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    day CONSTANT bigint := 86400000000;
    claimed bigint;
BEGIN
    IF cardinality(keys) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO claims AS c (key, position, expires_at)
    SELECT k, p, t + day FROM unnest(keys, positions, times) AS new (k, p, t)
    ON CONFLICT (key) DO UPDATE SET position = excluded.position, expires_at = excluded.expires_at
    WHERE c.expires_at <= excluded.expires_at - day;
    GET DIAGNOSTICS claimed = ROW_COUNT;
    IF claimed <> cardinality(keys) THEN
        RAISE unique_violation USING MESSAGE = 'an idempotency key is in use', CONSTRAINT = 'claims_pkey';
    END IF;
    -- As many old ones go as new ones came, and more: the table stays as large as a day.
    DELETE FROM claims WHERE key IN
        (SELECT key FROM claims WHERE expires_at <= times[1] ORDER BY expires_at LIMIT 2 * cardinality(keys));
END $$;

CREATE FUNCTION shred_parts(digests bigint[], secrets bigint[], answers bigint[], notes bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(digests) > 0 THEN
        UPDATE sealed SET digest = NULL WHERE position = ANY (digests);
    END IF;
    IF cardinality(secrets) > 0 THEN
        UPDATE sealed SET secret = NULL, secret_key = NULL WHERE position = ANY (secrets);
    END IF;
    IF cardinality(answers) > 0 THEN
        UPDATE sealed SET answer = NULL, answer_key = NULL WHERE position = ANY (answers);
    END IF;
    IF cardinality(notes) > 0 THEN
        UPDATE sealed SET details = NULL, details_key = NULL WHERE position = ANY (notes);
    END IF;
END $$;

-- Several processes note uses of one secret: the earliest first use and the latest last one hold.
CREATE FUNCTION note_uses(credentials bytea[], versions bigint[], firsts bigint[], lasts bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(credentials) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO secret_use AS known (credential, version, first_used, last_used)
    SELECT * FROM unnest(credentials, versions, firsts, lasts)
    ON CONFLICT (credential) DO UPDATE SET
        version = excluded.version,
        first_used = CASE WHEN known.version = excluded.version
            THEN least(known.first_used, excluded.first_used) ELSE excluded.first_used END,
        last_used = CASE WHEN known.version = excluded.version
            THEN greatest(known.last_used, excluded.last_used) ELSE excluded.last_used END
    WHERE known.version <= excluded.version;
END $$;

-- Numbers every row, whichever way it comes: under the lock, the next position. A row of a batch comes with its
-- leaf, and its side is kept by `append_batch`. A single item that the library writes has everything in its
-- metadata; it is moved to where it belongs and stripped.
CREATE FUNCTION number_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tip bigint;
    item json;
BEGIN
    PERFORM lock_ledger();
    tip := next_position();
    IF NEW.position IS NOT NULL AND NEW.position <> tip THEN
        RAISE unique_violation USING MESSAGE = 'the log has grown in between', CONSTRAINT = 'events_position';
    END IF;
    NEW.position := tip;
    IF NEW.leaf IS NOT NULL THEN
        RETURN NEW;
    END IF;
    item := NEW.metadata;
    IF (item->>'at')::bigint IS DISTINCT FROM tip THEN
        RAISE unique_violation USING MESSAGE = 'the log has grown in between', CONSTRAINT = 'events_position';
    END IF;
    IF EXISTS (SELECT FROM given_up WHERE attempt = decode(item->>'attempt', 'hex')) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'this attempt was given up by its writer';
    END IF;
    NEW.leaf := decode(item->>'leaf', 'base64');
    NEW.metadata := '{}';
    INSERT INTO sealed VALUES (
        tip, decode(item->>'digest', 'base64'),
        decode(item->>'secret', 'base64'), decode(item->>'secretKey', 'base64'),
        decode(item->>'answer', 'base64'), decode(item->>'answerKey', 'base64'),
        decode(item->>'details', 'base64'), decode(item->>'detailsKey', 'base64'));
    IF item->>'claim' IS NOT NULL THEN
        PERFORM claim_keys(
            ARRAY[decode(item->>'claim', 'hex')], ARRAY[tip], ARRAY[(item->>'claimedAt')::bigint]);
    END IF;
    PERFORM shred_parts(
        ARRAY(SELECT json_array_elements_text(item->'shred'->'digest')::bigint),
        ARRAY(SELECT json_array_elements_text(item->'shred'->'secret')::bigint),
        ARRAY(SELECT json_array_elements_text(item->'shred'->'answer')::bigint),
        ARRAY(SELECT json_array_elements_text(item->'shred'->'details')::bigint));
    PERFORM note_uses(
        ARRAY(SELECT decode(m->>0, 'hex') FROM json_array_elements(item->'marks') AS m),
        ARRAY(SELECT (m->>1)::bigint FROM json_array_elements(item->'marks') AS m),
        ARRAY(SELECT (m->>2)::bigint FROM json_array_elements(item->'marks') AS m),
        ARRAY(SELECT (m->>3)::bigint FROM json_array_elements(item->'marks') AS m));
    PERFORM tell_growth(tip + 1);
    RETURN NEW;
END $$;

CREATE TRIGGER events_are_numbered BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION number_event();

-- Writes a batch that begins at `first`, or nothing. Gives the position at which the log stood: the batch is
-- written if that is `first`. One call is one statement and so one transaction: everything or nothing.
CREATE FUNCTION append_batch(
    first bigint, attempted bytea,
    types text[], ids text[], sequences bigint[], names text[], versions text[], payloads text[], leaves bytea[],
    digests bytea[], secrets bytea[], secret_keys bytea[], answers bytea[], answer_keys bytea[],
    notes bytea[], note_keys bytea[],
    claimed_keys bytea[], claimed_positions bigint[], claimed_times bigint[],
    shred_digests bigint[], shred_secrets bigint[], shred_answers bigint[], shred_notes bigint[],
    used bytea[], used_versions bigint[], used_firsts bigint[], used_lasts bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    tip bigint;
BEGIN
    PERFORM lock_ledger();
    tip := next_position();
    IF tip <> first THEN
        RETURN tip;
    END IF;
    IF EXISTS (SELECT FROM given_up WHERE attempt = attempted) THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'this attempt was given up by its writer';
    END IF;
    INSERT INTO events
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, leaf)
    SELECT t, i, s, n, v, p::json, '{}', first + ord - 1, l
    FROM unnest(types, ids, sequences, names, versions, payloads, leaves)
        WITH ORDINALITY AS new (t, i, s, n, v, p, l, ord)
    ORDER BY ord;
    INSERT INTO sealed
    SELECT first + ord - 1, dg, sc, sk, an, ak, nt, nk
    FROM unnest(digests, secrets, secret_keys, answers, answer_keys, notes, note_keys)
        WITH ORDINALITY AS new (dg, sc, sk, an, ak, nt, nk, ord)
    WHERE coalesce(dg, sc, an, nt) IS NOT NULL;
    PERFORM claim_keys(claimed_keys, claimed_positions, claimed_times);
    PERFORM shred_parts(shred_digests, shred_secrets, shred_answers, shred_notes);
    PERFORM note_uses(used, used_versions, used_firsts, used_lasts);
    IF cardinality(leaves) > 0 THEN
        PERFORM tell_growth(first + cardinality(leaves));
    END IF;
    RETURN first;
END $$;

-- Whether the leaf at `first` is this one; if nothing is there, the attempt to write it can't come in late.
CREATE FUNCTION settle_attempt(first bigint, attempted bytea, expected bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_ledger();
    IF next_position() > first THEN
        RETURN coalesce((SELECT leaf = expected FROM events WHERE position = first), false);
    END IF;
    INSERT INTO given_up (attempt) VALUES (attempted) ON CONFLICT DO NOTHING;
    RETURN false;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE restrict_violation USING MESSAGE = format('%s: %s is refused', TG_ARGV[0], TG_OP);
END $$;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change('events are never changed nor deleted');
CREATE TRIGGER events_are_never_truncated BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('events are never changed nor deleted');
CREATE TRIGGER sealed_rows_are_never_deleted BEFORE DELETE ON sealed
    FOR EACH ROW EXECUTE FUNCTION refuse_change('sealed rows are emptied part by part, never deleted');
CREATE TRIGGER sealed_rows_are_never_truncated BEFORE TRUNCATE ON sealed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('sealed rows are emptied part by part, never deleted');

-- A part can be emptied, and its key wrapped anew. Nothing else.
CREATE FUNCTION guard_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.position = OLD.position
        AND (NEW.digest IS NULL OR NEW.digest IS NOT DISTINCT FROM OLD.digest)
        AND (NEW.secret IS NULL OR NEW.secret IS NOT DISTINCT FROM OLD.secret)
        AND (NEW.answer IS NULL OR NEW.answer IS NOT DISTINCT FROM OLD.answer)
        AND (NEW.details IS NULL OR NEW.details IS NOT DISTINCT FROM OLD.details)
        AND (NEW.secret IS NULL) = (NEW.secret_key IS NULL)
        AND (NEW.answer IS NULL) = (NEW.answer_key IS NULL)
        AND (NEW.details IS NULL) = (NEW.details_key IS NULL)
    THEN
        RETURN NEW;
    END IF;
    RAISE restrict_violation USING MESSAGE = 'sealed parts are emptied or wrapped anew, never exchanged';
END $$;

CREATE TRIGGER sealed_parts_are_never_exchanged BEFORE UPDATE ON sealed
    FOR EACH ROW EXECUTE FUNCTION guard_sealed();
