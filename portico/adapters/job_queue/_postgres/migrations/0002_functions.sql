-- What changes jobs. Each function is one round trip, and called by itself one transaction.
--
-- The planner must not guess from old statistics how long a queue is: an index serves every
-- statement here, and with the settings below none is answered by reading the whole table. Arrays
-- come sorted by id, and the nested loops that remain lock the rows in that order. A job found by
-- its id is asked for its status in words that the index of running jobs does not serve: while the
-- table is young the planner would take that one, and walk through all of it for each id. And it
-- plans once per session: no plan is better for knowing the values, and to plan costs more than to
-- lease a job.

-- The one clock of this store.
CREATE FUNCTION {schema}.portico_now() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint
$$;

-- When the first job is due that waits for its time, and the first that is not due yet. Each
-- priority takes one step into the index. Not in plain SQL: that would be planned at each call.
CREATE FUNCTION {schema}.portico_next_due(queue text, clock bigint, OUT first bigint, OUT later bigint)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    level integer;
    due bigint;
BEGIN
    SELECT priority INTO level FROM {schema}.portico_jobs
    WHERE status IN ('scheduled', 'retrying') AND queue_name = queue
    ORDER BY priority DESC LIMIT 1;
    WHILE level IS NOT NULL LOOP
        SELECT run_at INTO due FROM {schema}.portico_jobs
        WHERE status IN ('scheduled', 'retrying') AND queue_name = queue AND priority = level
        ORDER BY run_at LIMIT 1;
        first := least(first, due);
        IF due <= clock THEN
            SELECT run_at INTO due FROM {schema}.portico_jobs
            WHERE status IN ('scheduled', 'retrying') AND queue_name = queue AND priority = level
                AND run_at > clock
            ORDER BY run_at LIMIT 1;
        END IF;
        later := least(later, due);
        SELECT priority INTO level FROM {schema}.portico_jobs
        WHERE status IN ('scheduled', 'retrying') AND queue_name = queue AND priority < level
        ORDER BY priority DESC LIMIT 1;
    END LOOP;
END
$$;

-- Rows that may be leased, locked, where some that waited for their time are due: `most` of a
-- queue, in its order. Candidates are looked for more widely when others have locked some.
CREATE FUNCTION {schema}.portico_due(queue text, clock bigint, most integer) RETURNS bigint[]
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    width integer := 2 * most + 16;
    seen integer;
    taken bigint[];
BEGIN
    LOOP
        WITH RECURSIVE levels (level) AS (
            (SELECT priority FROM {schema}.portico_jobs
             WHERE status IN ('scheduled', 'retrying') AND queue_name = queue
             ORDER BY priority DESC LIMIT 1)
            UNION ALL
            SELECT (SELECT priority FROM {schema}.portico_jobs
                    WHERE status IN ('scheduled', 'retrying') AND queue_name = queue
                        AND priority < level
                    ORDER BY priority DESC LIMIT 1)
            FROM levels WHERE level IS NOT NULL
        ), candidates AS MATERIALIZED (
            SELECT seq, priority, run_at FROM (
                (SELECT seq, priority, run_at FROM {schema}.portico_jobs
                 WHERE status = 'pending' AND queue_name = queue
                 ORDER BY priority DESC, run_at, seq LIMIT width)
                UNION ALL
                SELECT due.seq, due.priority, due.run_at FROM levels CROSS JOIN LATERAL (
                    SELECT seq, priority, run_at FROM {schema}.portico_jobs
                    WHERE status IN ('scheduled', 'retrying') AND queue_name = queue
                        AND priority = level AND run_at <= clock
                    ORDER BY run_at, seq LIMIT width
                ) due
                WHERE level IS NOT NULL
            ) either
            ORDER BY priority DESC, run_at, seq LIMIT width
        ), locked AS MATERIALIZED (
            SELECT job.seq FROM candidates one JOIN {schema}.portico_jobs job ON job.seq = one.seq
            WHERE job.status = 'pending'
                OR (job.status IN ('scheduled', 'retrying') AND job.run_at <= clock)
            ORDER BY one.priority DESC, one.run_at, one.seq
            LIMIT most FOR UPDATE OF job SKIP LOCKED
        )
        SELECT ARRAY(SELECT seq FROM locked), (SELECT count(*) FROM candidates) INTO taken, seen;
        EXIT WHEN cardinality(taken) >= most OR seen < width OR width > 100000;
        width := 4 * width;
    END LOOP;
    RETURN taken;
END
$$;

-- Complete attempts, and lease what can be started: first what has ended, then the queues in their
-- order. Kinds of rows: `standing`, of a completion that changed nothing; `lease`; and one `due`.
CREATE FUNCTION {schema}.portico_exchange(
    ids uuid[], attempts integer[], nonces bytea[], results bytea[],
    queues text[], most integer, fresh_nonce bytea, holder bigint, lease bigint, largest bigint
) RETURNS TABLE (
    kind text, place integer, run_at bigint, seq bigint, id uuid, nonce bytea, attempt integer,
    queue_name text, job_type text, payload bytea, priority integer, max_retries integer,
    retry_count integer, scheduled_at bigint, started_at bigint, created_at bigint,
    created_by uuid, metadata bytea, error_message text, suspect boolean,
    cancel_requested boolean, status text, settled_as text
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    clock bigint := {schema}.portico_now();
    done bigint[];
    queue text;
    position_ integer := 0;
    first_due bigint;
    later bigint;
    nearest bigint;
    taken bigint[];
    free integer := most;
BEGIN
    IF cardinality(ids) > 0 THEN
        WITH changed AS (
            UPDATE {schema}.portico_jobs job SET
                status = 'completed', settled_as = 'complete', ended_at = clock,
                ended_by_attempt = true, result = one.result
            FROM unnest(ids, attempts, nonces, results) WITH ORDINALITY
                AS one (id, attempt, nonce, result, place)
            WHERE job.id = one.id AND job.attempt = one.attempt AND job.nonce = one.nonce
                AND coalesce(job.status = 'running', false)
            RETURNING one.place
        )
        SELECT array_agg(place) INTO done FROM changed;
        IF coalesce(cardinality(done), 0) < cardinality(ids) THEN
            RETURN QUERY
            SELECT 'standing', one.place::integer, NULL::bigint, job.seq, one.id, job.nonce,
                job.attempt, NULL::text, NULL::text, NULL::bytea, NULL::integer, NULL::integer,
                NULL::integer, NULL::bigint, NULL::bigint, NULL::bigint, NULL::uuid, NULL::bytea,
                NULL::text, NULL::boolean, NULL::boolean, job.status, job.settled_as
            FROM unnest(ids) WITH ORDINALITY AS one (id, place)
            LEFT JOIN {schema}.portico_jobs job ON job.id = one.id
            WHERE one.place <> ALL (coalesce(done, '{}'));
        END IF;
    END IF;
    FOREACH queue IN ARRAY queues LOOP
        position_ := position_ + 1;
        SELECT next.first, next.later INTO first_due, later
        FROM {schema}.portico_next_due(queue, clock) next;
        nearest := least(nearest, later);
        CONTINUE WHEN free <= 0;
        IF first_due <= clock THEN
            taken := {schema}.portico_due(queue, clock, free);
        ELSE
            taken := ARRAY(
                SELECT seq FROM {schema}.portico_jobs
                WHERE status = 'pending' AND queue_name = queue
                ORDER BY priority DESC, run_at, seq LIMIT free FOR UPDATE SKIP LOCKED
            );
        END IF;
        CONTINUE WHEN cardinality(taken) = 0;
        free := free - cardinality(taken);
        RETURN QUERY
        UPDATE {schema}.portico_jobs job SET
            -- One odd number must not keep all the others from being leased.
            status = 'running', attempt = greatest(0, least(job.attempt, 2147483646)) + 1,
            nonce = fresh_nonce,
            started_at = clock, expires_at = clock + lease, owner_id = holder
        WHERE job.seq = ANY (taken)
        RETURNING 'lease', position_, job.run_at, job.seq, job.id, job.nonce, job.attempt,
            job.queue_name, job.job_type,
            CASE WHEN octet_length(job.payload) + octet_length(job.metadata) <= largest
                THEN job.payload END,
            job.priority, job.max_retries, job.retry_count, job.scheduled_at, job.started_at,
            job.created_at, job.created_by,
            CASE WHEN octet_length(job.payload) + octet_length(job.metadata) <= largest
                THEN job.metadata END,
            job.error_message, job.suspect, job.cancel_requested, NULL::text, NULL::text;
    END LOOP;
    RETURN QUERY
    SELECT 'due', NULL::integer, nearest - clock, NULL::bigint, NULL::uuid, NULL::bytea,
        NULL::integer, NULL::text, NULL::text, NULL::bytea, NULL::integer, NULL::integer,
        NULL::integer, NULL::bigint, NULL::bigint, NULL::bigint, NULL::uuid, NULL::bytea,
        NULL::text, NULL::boolean, NULL::boolean, NULL::text, NULL::text;
END
$$;

-- Keep of each job's history what its limit allows.
CREATE FUNCTION {schema}.portico_trim(ids uuid[], most integer) RETURNS void
LANGUAGE sql
SET enable_seqscan = off SET jit = off
AS $$
    DELETE FROM {schema}.portico_attempts WHERE seq IN (
        SELECT old.seq FROM unnest(ids) AS job (id) CROSS JOIN LATERAL (
            SELECT seq FROM {schema}.portico_attempts WHERE job_id = job.id
            ORDER BY seq DESC OFFSET most
        ) old
    )
$$;

-- End attempts in any way. An id comes once; without an attempt it is whichever is running. A row
-- for each: with a queue for what was changed, with the standing of the job for what was not.
CREATE FUNCTION {schema}.portico_settle(
    ids uuid[], attempts integer[], nonces bytea[], transitions text[], results bytea[],
    delays bigint[], patiences bigint[], types text[], messages text[], tracebacks text[],
    last_words text[], noted boolean[], pids bigint[], exit_codes bigint[], signals text[],
    ooms boolean[], runs double precision[], cpus double precision[], peaks bigint[],
    outputs text[], max_crashes integer, history integer, channel text
) RETURNS TABLE (place integer, changed_queue text, status text, attempt integer, nonce bytea,
    settled_as text)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    clock bigint := {schema}.portico_now();
    done bigint[];
    statuses text[];
    names text[];
    written uuid[];
BEGIN
    WITH picked AS MATERIALIZED (
        SELECT job.seq, job.max_retries = 0 AS once, one.*,
            CASE one.transition
                WHEN 'retry' THEN job.retry_count >= job.max_retries
                WHEN 'crash' THEN job.retry_count >= job.max_retries
                    OR job.crash_count + 1 >= max_crashes
                WHEN 'interrupt' THEN job.max_retries = 0
                WHEN 'suspect' THEN job.max_retries = 0
                WHEN 'snooze' THEN one.patience IS NOT NULL AND job.snoozed_since IS NOT NULL
                    AND clock - job.snoozed_since > one.patience
                ELSE one.transition = 'quarantine'
            END AS dead,
            CASE one.transition
                WHEN 'complete' THEN 'completed' WHEN 'fail' THEN 'failed'
                WHEN 'retry' THEN 'retrying' WHEN 'crash' THEN 'retrying'
                WHEN 'snooze' THEN 'scheduled' ELSE 'pending'
            END AS alive
        FROM unnest(ids, attempts, nonces, transitions, results, delays, patiences, types,
            messages, tracebacks, last_words, noted, pids, exit_codes, signals, ooms, runs, cpus,
            peaks, outputs) WITH ORDINALITY
            AS one (id, attempt, nonce, transition, result, delay, patience, type, message,
                traceback, last_word, noted, pid, exit_code, signal, oom, run, cpu, peak, output,
                place)
        JOIN {schema}.portico_jobs job ON job.id = one.id
        WHERE coalesce(job.status = 'running', false)
            AND (one.attempt IS NULL OR (job.attempt = one.attempt AND job.nonce = one.nonce))
        ORDER BY job.id FOR UPDATE OF job
    ), changed AS (
        UPDATE {schema}.portico_jobs job SET
            status = CASE WHEN end_.dead THEN 'dead_letter' ELSE end_.alive END,
            ended_at = CASE WHEN end_.dead OR end_.alive IN ('completed', 'failed') THEN clock END,
            ended_by_attempt = end_.dead OR end_.alive IN ('completed', 'failed'),
            settled_as = end_.transition,
            result = coalesce(end_.result, job.result),
            run_at = CASE WHEN end_.alive IN ('retrying', 'scheduled')
                THEN clock + end_.delay ELSE job.run_at END,
            retry_count = job.retry_count + (NOT end_.dead AND end_.alive = 'retrying')::integer,
            release_count = job.release_count + (NOT end_.dead AND end_.alive = 'pending')::integer,
            snooze_count = job.snooze_count + (NOT end_.dead AND end_.alive = 'scheduled')::integer,
            crash_count = job.crash_count + (end_.transition = 'crash')::integer,
            suspect = job.suspect OR (end_.transition = 'suspect' AND NOT end_.dead),
            snoozed_since = CASE
                WHEN end_.transition = 'snooze' THEN coalesce(job.snoozed_since, clock)
                WHEN end_.transition IN ('release', 'complete') THEN job.snoozed_since
            END,
            error_type = CASE WHEN said.text IS NULL THEN job.error_type ELSE end_.type END,
            error_message = coalesce(said.text, job.error_message),
            traceback = CASE WHEN said.text IS NULL THEN job.traceback ELSE end_.traceback END
        FROM picked end_
        CROSS JOIN LATERAL (SELECT
            CASE WHEN end_.dead AND end_.once THEN end_.last_word ELSE end_.message END
        ) AS said (text)
        WHERE job.seq = end_.seq
        RETURNING end_.place, job.status, job.queue_name, job.id, job.attempt, job.started_at,
            job.owner_id, end_.transition, end_.noted, end_.type, end_.message, end_.traceback,
            end_.pid, end_.exit_code, end_.signal, end_.oom, end_.run, end_.cpu, end_.peak,
            end_.output
    ), noted_down AS (
        INSERT INTO {schema}.portico_attempts (
            job_id, attempt, ended_as, started_at, ended_at, owner, error_type, error_message,
            traceback, pid, exit_code, signal, oom_suspected, run_seconds, worker_cpu_seconds,
            worker_peak_rss, output
        )
        SELECT id, attempt,
            CASE WHEN transition = 'retry' AND status = 'dead_letter' THEN status
                ELSE transition END,
            started_at, clock,
            (SELECT name FROM {schema}.portico_owners owner WHERE owner.id = changed.owner_id),
            type, nullif(message, ''), traceback, pid, exit_code, signal, oom, run, cpu, peak,
            output
        FROM changed WHERE noted ORDER BY place
        RETURNING job_id
    )
    SELECT array_agg(place), array_agg(status), array_agg(queue_name),
        (SELECT array_agg(job_id) FROM noted_down)
    INTO done, statuses, names, written FROM changed;
    IF written IS NOT NULL THEN
        PERFORM {schema}.portico_trim(written, history);
    END IF;
    PERFORM pg_notify(channel, left(queue, 128)) FROM (
        SELECT DISTINCT one.queue FROM unnest(names, statuses) AS one (queue, status)
        WHERE one.status IN ('pending', 'scheduled', 'retrying')
    ) woken;
    RETURN QUERY SELECT one.place::integer, one.queue, one.status, NULL::integer, NULL::bytea,
        NULL::text FROM unnest(done, names, statuses) AS one (place, queue, status);
    IF coalesce(cardinality(done), 0) < cardinality(ids) THEN
        RETURN QUERY
        SELECT one.place::integer, NULL::text, job.status, job.attempt, job.nonce, job.settled_as
        FROM unnest(ids) WITH ORDINALITY AS one (id, place)
        LEFT JOIN {schema}.portico_jobs job ON job.id = one.id
        WHERE one.place <> ALL (coalesce(done, '{}'));
    END IF;
END
$$;

-- Extend leases, also one that has run out and was taken by nobody. A row for each.
CREATE FUNCTION {schema}.portico_renew(
    ids uuid[], attempts integer[], nonces bytea[], holder bigint, name text, lease bigint
) RETURNS TABLE (place integer, standing text, cancel boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    clock bigint := {schema}.portico_now();
    done bigint[];
    asked boolean[];
BEGIN
    INSERT INTO {schema}.portico_owners AS owner (id, name, seen_at) VALUES (holder, name, clock)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at;
    WITH changed AS (
        UPDATE {schema}.portico_jobs job SET expires_at = clock + lease, owner_id = holder
        FROM unnest(ids, attempts, nonces) WITH ORDINALITY AS one (id, attempt, nonce, place)
        WHERE job.id = one.id AND job.attempt = one.attempt AND job.nonce = one.nonce
            AND coalesce(job.status = 'running', false)
        RETURNING one.place, job.cancel_requested
    )
    SELECT array_agg(place), array_agg(cancel_requested) INTO done, asked FROM changed;
    RETURN QUERY SELECT one.place::integer, 'ok', one.cancel
        FROM unnest(done, asked) AS one (place, cancel);
    IF coalesce(cardinality(done), 0) < cardinality(ids) THEN
        RETURN QUERY
        SELECT one.place::integer, CASE WHEN job.id IS NULL THEN 'not_found' ELSE 'lost' END, false
        FROM unnest(ids) WITH ORDINALITY AS one (id, place)
        LEFT JOIN {schema}.portico_jobs job ON job.id = one.id
        WHERE one.place <> ALL (coalesce(done, '{}'));
    END IF;
END
$$;

-- Settle attempts whose lease ran out, judged by the jobs' rows alone; the lease as it was, and
-- the status that the job has now.
CREATE FUNCTION {schema}.portico_recover(
    most integer, type text, message text, last_word text, max_expiries integer,
    history integer, channel text, not_after bigint
) RETURNS TABLE (
    id uuid, nonce bytea, attempt integer, queue_name text, job_type text, payload bytea,
    priority integer, max_retries integer, retry_count integer, scheduled_at bigint,
    started_at bigint, created_at bigint, created_by uuid, metadata bytea, error_message text,
    suspect boolean, status text
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    clock bigint := {schema}.portico_now();
    taken bigint[];
BEGIN
    taken := ARRAY(
        SELECT seq FROM {schema}.portico_jobs
        WHERE status = 'running' AND coalesce(expires_at, 0) <= clock
        ORDER BY expires_at, seq LIMIT most FOR UPDATE SKIP LOCKED
    );
    -- What kept this waiting (a lock, a server that was stopped) kept others from renewing.
    IF cardinality(taken) = 0 OR {schema}.portico_now() > not_after THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH old AS MATERIALIZED (
        SELECT job.*,
            job.retry_count >= job.max_retries OR job.expiry_count >= max_expiries - 1 AS dead
        FROM {schema}.portico_jobs job WHERE job.seq = ANY (taken)
    ), changed AS (
        UPDATE {schema}.portico_jobs job SET
            status = CASE WHEN old.dead THEN 'dead_letter' ELSE 'retrying' END,
            ended_at = CASE WHEN old.dead THEN clock END,
            ended_by_attempt = old.dead,
            settled_as = 'expire',
            run_at = clock,
            expiry_count = least(old.expiry_count, 2147483646) + 1,
            retry_count = old.retry_count + (NOT old.dead)::integer,
            error_type = type,
            error_message = CASE WHEN old.dead AND old.max_retries = 0
                THEN last_word ELSE message END,
            traceback = NULL
        FROM old WHERE job.seq = old.seq
        RETURNING old.id, old.nonce, old.attempt, old.queue_name, old.job_type, old.payload,
            old.priority, old.max_retries, old.retry_count, old.scheduled_at, old.started_at,
            old.created_at, old.created_by, old.metadata, old.error_message, old.suspect,
            job.status
    ), noted_down AS (
        INSERT INTO {schema}.portico_attempts (
            job_id, attempt, ended_as, started_at, ended_at, owner, error_type, error_message
        )
        SELECT old.id, old.attempt, 'expire', old.started_at, clock,
            (SELECT name FROM {schema}.portico_owners WHERE id = old.owner_id), type, message
        FROM old
    )
    SELECT * FROM changed;
    PERFORM {schema}.portico_trim(
        ARRAY(SELECT job.id FROM {schema}.portico_jobs job WHERE job.seq = ANY (taken)), history
    );
    PERFORM pg_notify(channel, left(woken.queue_name, 128)) FROM (
        SELECT DISTINCT job.queue_name FROM {schema}.portico_jobs job WHERE job.seq = ANY (taken)
    ) woken;
END
$$;

-- Sum up what was counted, and forget owners that were not heard of for so long.
CREATE FUNCTION {schema}.portico_tidy(forgotten bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH gone AS (
        DELETE FROM {schema}.portico_totals WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {schema}.portico_totals LIMIT 50000 FOR UPDATE SKIP LOCKED
        ))
        RETURNING queue_name, jobs
    )
    INSERT INTO {schema}.portico_totals (queue_name, jobs)
    SELECT queue_name, sum(jobs) FROM gone GROUP BY queue_name HAVING sum(jobs) <> 0;
    DELETE FROM {schema}.portico_owners owner
    WHERE owner.seen_at < {schema}.portico_now() - forgotten
        AND NOT EXISTS (
            SELECT FROM {schema}.portico_jobs job
            WHERE job.status = 'running' AND job.owner_id = owner.id
        );
END
$$;

-- The last row that was created before an instant: rows are numbered in that order.
CREATE FUNCTION {schema}.portico_created_before(instant bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    made bigint;
BEGIN
    SELECT coalesce(min(seq), 1) - 1, coalesce(max(seq), 0) INTO low, high
    FROM {schema}.portico_jobs;
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        SELECT created_at INTO made FROM {schema}.portico_jobs
        WHERE seq <= middle ORDER BY seq DESC LIMIT 1;
        IF made <= instant THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
