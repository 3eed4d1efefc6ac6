-- postgres_reads.sql - reads, reset, purge and the background worker.
--
-- SPDX-License-Identifier: Apache-2.0
--
-- Functions that are STABLE see one snapshot, that of the query which calls them. A row with history 0 says: there is more.

-- Versions as they were: with the name and extras in force then, and what the create said.
-- OFFSET 0, here and in @_tail: a look-up by the whole key, whatever the planner thinks of tables that nobody has analysed yet.
CREATE OR REPLACE VIEW @_items AS
SELECT l.cid, l.history, m.created, l.delivery, l.back, l.kind::bigint AS kind, m.published_ms, l.at_ms,
       CASE l.name_back WHEN 0 THEN l.name WHEN -1 THEN NULL
       ELSE (SELECT x.name FROM @_log x WHERE x.cid = l.cid AND x.delivery = l.delivery - l.name_back) END AS name,
       CASE l.extras_back WHEN 0 THEN l.extras WHEN -1 THEN NULL
       ELSE (SELECT x.extras FROM @_log x WHERE x.cid = l.cid AND x.delivery = l.delivery - l.extras_back) END AS extras,
       l.data, l.rest, m.rest AS create_rest
FROM @_log l CROSS JOIN LATERAL (SELECT x.* FROM @_messages x WHERE x.cid = l.cid AND x.history = l.history OFFSET 0) m;

-- Newest versions at or below p_as_of (0 = newest), whole, in the order asked for.
CREATE OR REPLACE FUNCTION @_latest(p_app text, p_name text, p_history bigint[], p_as_of bigint)
RETURNS TABLE (history bigint, created bigint, delivery bigint, kind bigint, published_ms bigint, at_ms bigint, name bytea,
               extras bytea, data bytea, is_string boolean, rest bytea, create_rest bytea)
LANGUAGE sql STABLE AS $$
    SELECT i.history, i.created, i.delivery, i.kind, i.published_ms, i.at_ms, i.name, i.extras,
           CASE WHEN i.back = 0 THEN i.data ELSE t.body END, CASE WHEN i.back = 0 THEN i.kind & 64 <> 0 ELSE t.is_string END,
           i.rest, i.create_rest
    FROM unnest(p_history) WITH ORDINALITY AS a(history, n)
    JOIN @_channels c ON c.app_id = p_app AND c.channel = p_name
    CROSS JOIN LATERAL (SELECT x.* FROM @_messages x WHERE x.cid = c.cid AND x.history = a.history OFFSET 0) m
    CROSS JOIN LATERAL (SELECT CASE WHEN p_as_of = 0 OR p_as_of >= m.last THEN m.last ELSE
        (SELECT max(l.delivery) FROM @_log l WHERE l.cid = m.cid AND l.history = m.history AND l.delivery <= p_as_of) END AS at) v
    JOIN @_items i ON i.cid = m.cid AND i.delivery = v.at
    CROSS JOIN LATERAL @_text(i.cid, i.history, CASE WHEN i.back > 0 THEN i.delivery END) t
    ORDER BY a.n
$$;

-- By place and time; p_age_max_ms, by the store's clock, stands in place of p_start_ms unless it is 0.
CREATE OR REPLACE FUNCTION @_page(p_app text, p_name text, p_first bigint, p_last bigint, p_start_ms bigint, p_end_ms bigint, p_age_max_ms bigint,
                       p_as_of bigint, p_newest_first boolean, p_limit bigint)
RETURNS TABLE (history bigint, created bigint, delivery bigint, kind bigint, published_ms bigint, at_ms bigint, name bytea,
               extras bytea, data bytea, is_string boolean, rest bytea, create_rest bytea)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_cid bigint; v_places bigint[];
    v_start_ms CONSTANT bigint := CASE p_age_max_ms WHEN 0 THEN p_start_ms ELSE @_now() - p_age_max_ms END;
BEGIN
    SELECT c.cid INTO v_cid FROM @_channels c WHERE c.app_id = p_app AND c.channel = p_name;
    IF p_newest_first THEN
        v_places := ARRAY(SELECT m.history FROM @_messages m
                          WHERE m.cid = v_cid AND m.history BETWEEN p_first AND p_last AND m.published_ms BETWEEN v_start_ms AND p_end_ms
                          AND (p_as_of = 0 OR m.created <= p_as_of) ORDER BY m.cid DESC, m.history DESC LIMIT p_limit + 1);
    ELSE
        v_places := ARRAY(SELECT m.history FROM @_messages m
                          WHERE m.cid = v_cid AND m.history BETWEEN p_first AND p_last AND m.published_ms BETWEEN v_start_ms AND p_end_ms
                          AND (p_as_of = 0 OR m.created <= p_as_of) ORDER BY m.cid, m.history LIMIT p_limit + 1);
    END IF;
    RETURN QUERY SELECT * FROM @_latest(p_app, p_name, v_places[1:p_limit::integer], p_as_of);
    IF cardinality(v_places) > p_limit THEN
        RETURN QUERY SELECT 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, NULL::bytea, NULL::bytea, NULL::bytea,
                            false, NULL::bytea, NULL::bytea;
    END IF;
END $$;

-- Versions of one message; appends as their fragments.
CREATE OR REPLACE FUNCTION @_versions(p_app text, p_name text, p_history bigint, p_after bigint, p_newest_first boolean, p_limit bigint)
RETURNS TABLE (history bigint, created bigint, delivery bigint, kind bigint, published_ms bigint, at_ms bigint, name bytea,
               extras bytea, data bytea, is_string boolean, rest bytea, create_rest bytea)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_cid bigint; v_rows bigint[];
BEGIN
    SELECT c.cid INTO v_cid FROM @_channels c WHERE c.app_id = p_app AND c.channel = p_name;
    IF p_newest_first THEN
        v_rows := ARRAY(SELECT l.delivery FROM @_log l WHERE l.cid = v_cid AND l.history = p_history
                        AND (p_after = 0 OR l.delivery < p_after) ORDER BY l.delivery DESC LIMIT p_limit + 1);
    ELSE
        v_rows := ARRAY(SELECT l.delivery FROM @_log l WHERE l.cid = v_cid AND l.history = p_history
                        AND l.delivery > p_after ORDER BY l.delivery LIMIT p_limit + 1);
    END IF;
    RETURN QUERY
        SELECT i.history, i.created, i.delivery, i.kind, i.published_ms, i.at_ms, i.name, i.extras,
               CASE WHEN t.is_string IS NULL THEN i.data ELSE t.body END, coalesce(t.is_string, i.kind & 64 <> 0), i.rest,
               i.create_rest
        FROM unnest(v_rows[1:p_limit::integer]) WITH ORDINALITY AS a(at, n)
        JOIN @_items i ON i.cid = v_cid AND i.delivery = a.at
        CROSS JOIN LATERAL @_text(i.cid, i.history, CASE WHEN i.kind & 7 <> 3 AND i.kind & 32 = 0 THEN i.delivery END) t
        ORDER BY a.n;
    IF cardinality(v_rows) > p_limit THEN
        RETURN QUERY SELECT 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, NULL::bytea, NULL::bytea, NULL::bytea,
                            false, NULL::bytea, NULL::bytea;
    END IF;
END $$;

-- All operations in (p_from, p_to], oldest first, until their data has p_bytes_max bytes (0 = no limit).
CREATE OR REPLACE FUNCTION @_replay(p_app text, p_name text, p_from bigint, p_to bigint, p_bytes_max bigint)
RETURNS TABLE (history bigint, created bigint, delivery bigint, kind bigint, published_ms bigint, at_ms bigint, name bytea,
               extras bytea, data bytea, is_string boolean, rest bytea, create_rest bytea)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_cid bigint; v_to bigint; v_at bigint := 0; v_bytes bigint := 0; v_row record;
BEGIN
    SELECT c.cid, c.delivery INTO v_cid, v_to FROM @_channels c WHERE c.app_id = p_app AND c.channel = p_name;
    IF p_to > 0 AND p_to < v_to THEN
        v_to := p_to;
    END IF;
    IF p_bytes_max > 0 THEN
        FOR v_row IN SELECT l.delivery, 64 + coalesce(length(l.data), 0) + coalesce(length(l.extras), 0) AS size FROM @_log l
                     WHERE l.cid = v_cid AND l.delivery > p_from AND l.delivery <= v_to ORDER BY l.cid, l.delivery LOOP
            EXIT WHEN v_bytes >= p_bytes_max;
            v_bytes := v_bytes + v_row.size;
            v_at := v_row.delivery;
        END LOOP;
        v_to := v_at;
    END IF;
    RETURN QUERY
        SELECT i.history, i.created, i.delivery, i.kind, i.published_ms, i.at_ms, i.name, i.extras,
               CASE WHEN t.is_string IS NULL THEN i.data ELSE t.body END, coalesce(t.is_string, i.kind & 64 <> 0), i.rest,
               i.create_rest
        FROM @_items i
        CROSS JOIN LATERAL @_text(i.cid, i.history, CASE WHEN i.kind & 7 <> 3 AND i.kind & 32 = 0 THEN i.delivery END) t
        WHERE i.cid = v_cid AND i.delivery > p_from AND i.delivery <= v_to ORDER BY i.cid, i.delivery;
END $$;

-- The keys in (p_from, p_to) (p_to NULL = no end), until p_limit or p_bytes_max.
CREATE OR REPLACE FUNCTION @_notes_scan(p_from bytea, p_inclusive boolean, p_to bytea, p_limit bigint, p_bytes_max bigint)
RETURNS TABLE (key bytea, value bytea, more boolean) LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_row record; v_count bigint := 0; v_bytes bigint := 0;
BEGIN
    FOR v_row IN SELECT x.key, x.value FROM @_notes x
                 WHERE x.key >= p_from AND (p_inclusive OR x.key > p_from) AND (p_to IS NULL OR x.key < p_to) ORDER BY x.key LOOP
        more := v_count >= p_limit OR v_bytes >= p_bytes_max;
        IF more THEN
            RETURN NEXT;
            RETURN;
        END IF;
        key := v_row.key; value := v_row.value;
        v_count := v_count + 1; v_bytes := v_bytes + length(key) + length(value);
        RETURN NEXT;
    END LOOP;
END $$;

-- Its rows go in the background; whoever waits for the channel's lock finds the new stream. Unknown: it is made.
CREATE OR REPLACE FUNCTION @_reset(p_app text, p_name text, p_stream text, p_stream8 bigint, OUT previous text, OUT messages bigint,
                        OUT bytes bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_cid bigint;
BEGIN
    INSERT INTO @_channels (app_id, channel, stream_id, stream8) VALUES (p_app, p_name, p_stream, p_stream8) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        previous := ''; messages := 0; bytes := 0;
        RETURN;
    END IF;
    SELECT c.cid, c.stream_id, c.retained_messages, c.retained_bytes INTO v_cid, previous, messages, bytes
    FROM @_channels c WHERE c.app_id = p_app AND c.channel = p_name FOR UPDATE;
    INSERT INTO @_gone VALUES (v_cid);
    UPDATE @_channels c
    SET cid = DEFAULT, stream_id = p_stream, stream8 = p_stream8, window_ms = 0, state = 0, replay_floor = 1, oldest_history = 0,
        oldest_ms = 0, open_streams = 0, newest_ms = 0, delivery = 0, history = 0, retained_messages = 0, retained_bytes = 0
    WHERE c.cid = v_cid;
END $$;

-- A slice of it: at most p_limit messages, of those at or below p_up_to (0 = as of now, which is returned).
CREATE OR REPLACE FUNCTION @_purge(p_app text, p_name text, p_before_history bigint, p_before_ms bigint, p_up_to bigint, p_limit bigint,
                        OUT up_to bigint, OUT messages bigint, OUT bytes bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_cid bigint; v_go bigint[];
BEGIN
    messages := 0; bytes := 0;
    SELECT c.cid, CASE WHEN p_up_to = 0 THEN c.history ELSE p_up_to END INTO v_cid, up_to
    FROM @_channels c WHERE c.app_id = p_app AND c.channel = p_name FOR NO KEY UPDATE;
    v_go := ARRAY(SELECT m.history FROM @_messages m
                  WHERE m.cid = v_cid AND m.history <= up_to AND (p_before_history IS NULL OR m.history < p_before_history)
                  AND (p_before_ms IS NULL OR m.published_ms < p_before_ms) ORDER BY m.cid, m.history LIMIT p_limit);
    IF cardinality(v_go) > 0 THEN
        SELECT d.messages, d.bytes INTO messages, bytes FROM @_drop(v_cid, v_go, @_now()) d;
    END IF;
END $$;

-- Background: up to p_channels channels behind p_after whose oldest row has outlived their window; p_limit messages. One node at
-- a time; whoever is locked is left for the next run. next 0 = all were looked at.
CREATE OR REPLACE FUNCTION @_work(p_after bigint, p_channels bigint, p_limit bigint, OUT next bigint, OUT messages bigint, OUT bytes bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_now CONSTANT bigint := @_now();
    v_row record; v_seen bigint := 0; v_done record;
BEGIN
    next := 0; messages := 0; bytes := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('@_work', 0)) THEN
        RETURN;
    END IF;
    FOR v_row IN SELECT c.cid FROM @_channels c WHERE c.cid > p_after ORDER BY c.cid LIMIT p_channels LOOP
        v_seen := v_seen + 1;
        IF messages >= p_limit THEN
            RETURN;
        END IF;
        next := v_row.cid;
        PERFORM FROM @_channels c WHERE c.cid = v_row.cid AND c.window_ms > 0 AND c.retained_messages > 0
                AND c.oldest_ms < v_now - c.window_ms FOR NO KEY UPDATE SKIP LOCKED;
        IF FOUND THEN
            SELECT r.messages, r.bytes INTO v_done
            FROM @_channels c, LATERAL @_retain(c.cid, v_now, c.window_ms, 0, 0, p_limit - messages) r WHERE c.cid = v_row.cid;
            messages := messages + v_done.messages; bytes := bytes + v_done.bytes;
            IF messages >= p_limit THEN
                next := v_row.cid - 1; -- it may have more
                RETURN;
            END IF;
        END IF;
    END LOOP;
    IF v_seen < p_channels THEN
        next := 0;
    END IF;
END $$;

-- Receipts that have expired, and what channels left that were reset; true = there is more.
CREATE OR REPLACE FUNCTION @_sweep(p_limit bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_now CONSTANT bigint := @_now();
    v_cid bigint; v_rows bigint; v_all bigint;
BEGIN
    DELETE FROM @_receipts WHERE ctid = ANY (ARRAY(SELECT x.ctid FROM @_receipts x WHERE x.expires_ms <= v_now LIMIT p_limit));
    GET DIAGNOSTICS v_all = ROW_COUNT;
    SELECT g.cid INTO v_cid FROM @_gone g ORDER BY g.cid LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF v_cid IS NULL THEN
        RETURN v_all = p_limit;
    END IF;
    DELETE FROM @_log WHERE ctid = ANY (ARRAY(SELECT x.ctid FROM @_log x WHERE x.cid = v_cid LIMIT p_limit));
    GET DIAGNOSTICS v_all = ROW_COUNT;
    DELETE FROM @_messages WHERE ctid = ANY (ARRAY(SELECT x.ctid FROM @_messages x WHERE x.cid = v_cid LIMIT p_limit));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_all := v_all + v_rows;
    DELETE FROM @_segments WHERE ctid = ANY (ARRAY(SELECT x.ctid FROM @_segments x WHERE x.cid = v_cid LIMIT p_limit));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_all := v_all + v_rows;
    DELETE FROM @_receipts WHERE cid = v_cid;
    IF v_all = 0 THEN
        DELETE FROM @_gone WHERE cid = v_cid;
    END IF;
    RETURN true;
END $$;
