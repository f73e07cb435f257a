-- A batch brings its positions with it and is looked at once, not row by row: what is there is dense from 0, so that a
-- statement that adds rows without a gap, the first beside one that is there, leaves it dense.
CREATE FUNCTION hold_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_ledger();
    RETURN NULL;
END $$;

CREATE FUNCTION check_positions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    low   bigint;
    high  bigint;
    added bigint;
BEGIN
    SELECT min(position), max(position), count(*) INTO low, high, added FROM added_events;
    IF added > 0 AND (high - low + 1 <> added
        OR low > 0 AND NOT EXISTS (SELECT FROM events WHERE position = low - 1))
    THEN
        RAISE unique_violation USING MESSAGE = 'the log has grown in between', CONSTRAINT = 'events_position';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER events_one_writer BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION hold_ledger();

DROP TRIGGER events_are_numbered ON events;
CREATE TRIGGER events_are_numbered BEFORE INSERT ON events
    FOR EACH ROW WHEN (NEW.leaf IS NULL OR NEW.position IS NULL) EXECUTE FUNCTION number_event();

CREATE TRIGGER events_are_dense AFTER INSERT ON events REFERENCING NEW TABLE AS added_events
    FOR EACH STATEMENT EXECUTE FUNCTION check_positions();
