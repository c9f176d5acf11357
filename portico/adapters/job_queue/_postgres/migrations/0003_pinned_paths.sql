-- Nobody else's functions and operators run with our role's rights. Whoever may create in a schema
-- of the caller's search_path can lay some there that fit a call better than the server's own, so
-- each function looks into the server's own schema alone. The clock is one expression that callers
-- take into their own plans, which such a setting would prevent: it names what it calls.

CREATE OR REPLACE FUNCTION {schema}.portico_now() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT (
        extract(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000
    )::bigint
$$;
ALTER FUNCTION {schema}.portico_next_due SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_due SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_exchange SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_trim SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_settle SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_renew SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_recover SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_tidy SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.portico_created_before SET search_path = pg_catalog, pg_temp;
