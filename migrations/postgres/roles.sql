-- Roles with no more rights than they need. Run it with psql as whoever owns the database, connected to it, after
-- `rota migrate`; run it again after every upgrade, since new tables need their grants too. It takes the schema that
-- comes first in the search path.
--
--   rota_owner     owns the schema and migrates it; used by `rota migrate` alone
--   rota_app       serves: reads, appends, empties sealed parts. It can neither change nor remove an event
--   rota_auditor   reads everything, writes nothing: for `rota verify`, `rota doctor`, and SQL of one's own
--
-- They are made without a login. Give each a user of your own: CREATE ROLE rota_1 LOGIN IN ROLE rota_app PASSWORD …
DO $$
DECLARE
    home text := quote_ident(current_schema());
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['rota_owner', 'rota_app', 'rota_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %s TO rota_owner', home);
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO rota_app, rota_auditor', home);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM PUBLIC, rota_app, rota_auditor', home);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %s FROM PUBLIC', home);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %s TO rota_app, rota_auditor', home);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %s TO rota_app', home);
END $$;

-- Reading what an auditor's tools read goes through these two.
GRANT EXECUTE ON FUNCTION next_position(), ledger_number() TO rota_auditor;

-- The ledger's own tables go to the owner, and with them the right to run the next migration.
ALTER TABLE events OWNER TO rota_owner;
ALTER TABLE sealed OWNER TO rota_owner;
ALTER TABLE claims OWNER TO rota_owner;
ALTER TABLE meta OWNER TO rota_owner;
ALTER TABLE secret_use OWNER TO rota_owner;
ALTER TABLE given_up OWNER TO rota_owner;
ALTER TABLE leases OWNER TO rota_owner;
ALTER TABLE tiles OWNER TO rota_owner;
ALTER TABLE checkpoints OWNER TO rota_owner;
ALTER TABLE signed OWNER TO rota_owner;
ALTER TABLE notice_cursor OWNER TO rota_owner;
ALTER TABLE notice_deliveries OWNER TO rota_owner;
ALTER TABLE notice_health OWNER TO rota_owner;
ALTER TABLE _sqlx_migrations OWNER TO rota_owner;

-- Appending. What an append writes beside the events it writes as the same role; triggers say what of it may change.
GRANT INSERT ON events, given_up, tiles TO rota_app;
GRANT INSERT, UPDATE ON sealed, meta, secret_use TO rota_app;
GRANT INSERT, UPDATE, DELETE ON claims, leases TO rota_app;

-- Signing.
GRANT INSERT, UPDATE ON checkpoints, signed TO rota_app;

-- Telling webhooks.
GRANT INSERT, UPDATE ON notice_cursor TO rota_app;
GRANT INSERT, UPDATE, DELETE ON notice_deliveries, notice_health TO rota_app;
