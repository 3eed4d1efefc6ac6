-- postgres_functions.sql - what one round trip does in the database: positions, receipts, limits, retention (chapter 3, 1.9).
--
-- SPDX-License-Identifier: Apache-2.0
--
-- Every @ stands for the table prefix. All of it is made anew whenever the version of the schema changes. Results are numbered as
-- enum store_result, actions and states of streams as in wire/item.h; postgres_batch.c asserts both.

-- The store's clock: milliseconds of Unix time. Nothing here goes by a node's.
CREATE OR REPLACE FUNCTION @_now() RETURNS bigint LANGUAGE sql AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- Rows of one message from its version p_from down to above p_above, newest first.
CREATE OR REPLACE FUNCTION @_tail(p_cid bigint, p_from bigint, p_above bigint)
RETURNS TABLE (delivery bigint, kind smallint, data bytea) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE t AS (
        SELECT l.delivery, l.back, l.kind, l.data FROM @_log l WHERE l.cid = p_cid AND l.delivery = p_from AND p_from > p_above
        UNION ALL
        SELECT l.delivery, l.back, l.kind, l.data
        FROM t, LATERAL (SELECT x.* FROM @_log x WHERE x.cid = p_cid AND x.delivery = t.delivery - t.back OFFSET 0) l
        WHERE t.back > 0 AND t.delivery - t.back > p_above)
    SELECT t.delivery, t.kind, t.data FROM t
$$;

-- The whole text of a message as of one of its versions; body NULL = no data. Of no version (NULL): all NULL, and nothing is read.
CREATE OR REPLACE FUNCTION @_text(p_cid bigint, p_history bigint, p_as_of bigint, OUT is_string boolean, OUT body bytea)
LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    v_folded bigint; v_from bigint; v_replaced bigint; v_base bytea; v_base_string boolean; v_tail bytea; v_tail_string boolean;
BEGIN
    SELECT coalesce(max(s.last), 0), coalesce(max(s.number) FILTER (WHERE s.replaces), 0) INTO v_folded, v_from
    FROM @_segments s WHERE s.cid = p_cid AND s.history = p_history AND s.last <= p_as_of;
    SELECT max(t.delivery) FILTER (WHERE t.kind & 32 <> 0) INTO v_replaced FROM @_tail(p_cid, p_as_of, v_folded) t;
    SELECT string_agg(t.data, ''::bytea ORDER BY t.delivery), bool_or(t.kind & 64 <> 0) FILTER (WHERE t.data IS NOT NULL)
    INTO v_tail, v_tail_string
    FROM @_tail(p_cid, p_as_of, greatest(v_folded, coalesce(v_replaced, 0) - 1)) t;
    IF v_replaced IS NULL THEN
        SELECT string_agg(s.data, ''::bytea ORDER BY s.number), bool_or(s.is_string) FILTER (WHERE s.data IS NOT NULL)
        INTO v_base, v_base_string
        FROM @_segments s WHERE s.cid = p_cid AND s.history = p_history AND s.number >= v_from AND s.last <= p_as_of;
    END IF;
    is_string := coalesce(v_tail_string, v_base_string, false);
    body := CASE WHEN v_base IS NULL THEN v_tail WHEN v_tail IS NULL THEN v_base ELSE v_base || v_tail END;
END $$;

CREATE OR REPLACE FUNCTION @_fold(p_cid bigint, p_history bigint, p_number bigint, p_last bigint, p_above bigint) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO @_segments
    SELECT p_cid, p_history, p_number, p_last, r.at IS NOT NULL, coalesce(bool_or(t.kind & 64 <> 0), false),
           string_agg(t.data, ''::bytea ORDER BY t.delivery)
    FROM (SELECT max(x.delivery) FILTER (WHERE x.kind & 32 <> 0) AS at FROM @_tail(p_cid, p_last, p_above) x) r,
         LATERAL @_tail(p_cid, p_last, greatest(p_above, coalesce(r.at, 0) - 1)) t
    GROUP BY r.at
$$;

-- Drops messages with all that hangs on them, and raises the replay floor above it.
CREATE OR REPLACE FUNCTION @_drop(p_cid bigint, p_history bigint[], p_now bigint, OUT messages bigint, OUT bytes bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_last bigint; v_open bigint; v_oldest bigint; v_oldest_ms bigint;
BEGIN
    SELECT count(*), coalesce(sum(m.size), 0), max(m.last), count(*) FILTER (WHERE m.is_open)
    INTO messages, bytes, v_last, v_open
    FROM @_messages m WHERE m.cid = p_cid AND m.history = ANY (p_history);
    IF messages = 0 THEN
        RETURN;
    END IF;
    INSERT INTO @_receipts
    SELECT l.cid, l.tag, l.history, m.created, l.delivery, l.print, l.at_ms + 86400000
    FROM @_messages m JOIN @_log l ON l.cid = m.cid AND l.history = m.history
    WHERE m.cid = p_cid AND m.history = ANY (p_history) AND l.tag IS NOT NULL AND l.back > 0 AND l.at_ms > p_now - 86400000
    ON CONFLICT DO NOTHING;
    DELETE FROM @_log l WHERE l.cid = p_cid AND l.history = ANY (p_history);
    DELETE FROM @_segments s WHERE s.cid = p_cid AND s.history = ANY (p_history);
    DELETE FROM @_messages m WHERE m.cid = p_cid AND m.history = ANY (p_history);
    SELECT m.history, m.published_ms INTO v_oldest, v_oldest_ms
    FROM @_messages m WHERE m.cid = p_cid ORDER BY m.history LIMIT 1;
    UPDATE @_channels c
    SET replay_floor = greatest(c.replay_floor, v_last + 1), oldest_history = coalesce(v_oldest, 0),
        oldest_ms = coalesce(v_oldest_ms, 0), open_streams = c.open_streams - v_open,
        retained_messages = c.retained_messages - messages, retained_bytes = c.retained_bytes - bytes
    WHERE c.cid = p_cid;
END $$;

-- By the retention that is asked for (0 = no limit): the oldest go first, open streams are passed over.
CREATE OR REPLACE FUNCTION @_retain(p_cid bigint, p_now bigint, p_window bigint, p_messages_max bigint, p_bytes_max bigint, p_limit bigint,
                         OUT messages bigint, OUT bytes bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_have bigint; v_bytes bigint; v_go bigint[];
BEGIN
    SELECT c.retained_messages, c.retained_bytes INTO v_have, v_bytes FROM @_channels c WHERE c.cid = p_cid;
    SELECT array_agg(d.history) INTO v_go
    FROM (SELECT w.history, bool_and(w.due) OVER (ORDER BY w.history) AS due
          FROM (SELECT m.history,
                       (p_window > 0 AND m.published_ms < p_now - p_window)
                       OR (p_messages_max > 0 AND v_have - row_number() OVER (ORDER BY m.history) + 1 > p_messages_max)
                       OR (p_bytes_max > 0 AND v_bytes - sum(m.size) OVER (ORDER BY m.history) + m.size > p_bytes_max) AS due
                FROM (SELECT x.history, x.published_ms, x.size FROM @_messages x
                      WHERE x.cid = p_cid AND NOT x.is_open ORDER BY x.history LIMIT p_limit) m) w) d
    WHERE d.due;
    messages := 0;
    bytes := 0;
    IF v_go IS NOT NULL THEN
        SELECT d.messages, d.bytes INTO messages, bytes FROM @_drop(p_cid, v_go, p_now) d;
    END IF;
END $$;

-- One batch. c_: channels, in the order of their keys, which is the order in which they are locked. m_: messages that are mutated.
-- o_: operations by channel, in the order in which they came; an action below 0 only asks for the channel's head. o_now 0:
-- the store's clock, once all channels are locked, which is x_now; so in a channel time and positions rise together. p_wait false:
-- whoever is locked is passed over, its operations are answered 100. Other outputs are parallel to these arrays.
CREATE OR REPLACE FUNCTION @_write(
    p_wait boolean,
    c_app text[], c_name text[], c_make boolean[], c_lock boolean[], c_stream text[], c_stream8 bigint[], c_promised8 bigint[],
    c_promised bigint[], c_window bigint[], c_messages_max bigint[], c_bytes_max bigint[], c_evict bigint[],
    m_ch bigint[], m_history bigint[],
    o_ch bigint[], o_action bigint[], o_m bigint[], o_created bigint[], o_stream8 bigint[], o_flags bigint[], o_status bigint[],
    o_now bigint[], o_given bigint[], o_size bigint[], o_tag bigint[], o_print bigint[], o_dup bigint[], o_ttl bigint[],
    o_expect bigint[], o_expect_bytes bigint[], o_writer bigint[], o_appends_max bigint[], o_open_max bigint[],
    o_bytes_max bigint[], o_data bytea[], o_name bytea[], o_extras bytea[], o_rest bytea[],
    OUT x_stream text[], OUT x_state bigint[], OUT x_floor bigint[], OUT x_oldest bigint[], OUT x_oldest_ms bigint[],
    OUT x_newest_ms bigint[], OUT x_messages bigint[], OUT x_bytes bigint[], OUT x_evicted bigint[], OUT x_evicted_bytes bigint[],
    OUT h_published bigint[], OUT h_name bytea[], OUT h_extras bytea[], OUT h_rest bytea[],
    OUT r_result bigint[], OUT r_delivery bigint[], OUT r_history bigint[], OUT r_created bigint[], OUT r_at bigint[],
    OUT r_history_at bigint[], OUT r_open bigint[], OUT r_bytes bigint[], OUT r_appends bigint[], OUT r_was bigint[],
    OUT r_status bigint[], OUT r_action bigint[], OUT r_string boolean[], OUT r_text bytea[], OUT x_now bigint)
LANGUAGE plpgsql AS $$
DECLARE
    n CONSTANT integer := cardinality(o_ch);
    n_c CONSTANT integer := cardinality(c_app);
    x_cid bigint[]; x_stream8 bigint[]; x_delivery bigint[]; x_history bigint[]; x_open bigint[]; x_touched boolean[];
    x_window bigint[]; x_written_ms bigint[];
    h_created bigint[]; h_last bigint[]; h_at bigint[]; h_status bigint[]; h_action bigint[]; h_bytes bigint[]; h_size bigint[];
    h_appends bigint[]; h_flags bigint[]; h_name_at bigint[]; h_extras_at bigint[]; h_writer bigint[]; h_segments bigint[];
    h_folded bigint[]; h_tail_rows bigint[]; h_tail_bytes bigint[]; h_open boolean[];
    h_name_op bigint[]; h_extras_op bigint[]; h_changed boolean[];
    d_delivery bigint[]; d_history bigint[]; d_created bigint[]; d_print bigint[];
    w_delivery bigint[]; w_back bigint[]; w_name_back bigint[]; w_extras_back bigint[]; w_kind bigint[]; w_cid bigint[];
    v_first bigint[]; v_folds bigint[] := '{}'; v_texts bigint[] := '{}';
    v_locked refcursor; v_row record; o record; t record;
    i bigint; c bigint; m bigint; k bigint; r bigint; v_status bigint; v_bytes bigint; v_flags bigint; v_delivery bigint;
    v_was boolean; v_is boolean; v_creates boolean;
BEGIN
    -- channels: made, then locked, both in the order of their keys
    IF true = ANY (c_make) THEN
        INSERT INTO @_channels (app_id, channel, stream_id, stream8)
        SELECT a.app, a.name, a.stream, a.stream8
        FROM unnest(c_app, c_name, c_make, c_stream, c_stream8) WITH ORDINALITY AS a(app, name, make, stream, stream8, i)
        WHERE a.make AND NOT EXISTS (SELECT FROM @_channels x WHERE x.app_id = a.app AND x.channel = a.name)
        ORDER BY a.i
        ON CONFLICT DO NOTHING;
    END IF;
    x_cid := array_fill(NULL::bigint, ARRAY[n_c]); x_stream8 := x_cid; x_delivery := x_cid; x_history := x_cid; x_open := x_cid;
    x_state := x_cid; x_floor := x_cid; x_oldest := x_cid; x_oldest_ms := x_cid; x_newest_ms := x_cid; x_messages := x_cid;
    x_bytes := x_cid; x_window := x_cid; x_written_ms := x_cid; x_evicted := x_cid; x_evicted_bytes := x_cid;
    x_stream := array_fill(NULL::text, ARRAY[n_c]); x_touched := array_fill(false, ARRAY[n_c]);
    IF p_wait THEN
        OPEN v_locked NO SCROLL FOR
            SELECT a.i, x.* FROM unnest(c_app, c_name, c_lock) WITH ORDINALITY AS a(app, name, lock, i)
            JOIN @_channels x ON x.app_id = a.app AND x.channel = a.name WHERE a.lock ORDER BY a.i FOR NO KEY UPDATE OF x;
    ELSE
        OPEN v_locked NO SCROLL FOR
            SELECT a.i, x.* FROM unnest(c_app, c_name, c_lock) WITH ORDINALITY AS a(app, name, lock, i)
            JOIN @_channels x ON x.app_id = a.app AND x.channel = a.name WHERE a.lock ORDER BY a.i FOR NO KEY UPDATE OF x SKIP LOCKED;
    END IF;
    k := 0;
    LOOP
        IF k = 0 THEN
            FETCH v_locked INTO v_row;
            IF NOT FOUND THEN
                CLOSE v_locked;
                EXIT WHEN NOT false = ANY (c_lock);
                k := 1;
                OPEN v_locked NO SCROLL FOR
                    SELECT a.i, x.* FROM unnest(c_app, c_name, c_lock) WITH ORDINALITY AS a(app, name, lock, i)
                    JOIN @_channels x ON x.app_id = a.app AND x.channel = a.name WHERE NOT a.lock;
            END IF;
        END IF;
        IF k = 1 THEN
            FETCH v_locked INTO v_row;
            EXIT WHEN NOT FOUND;
        END IF;
        c := v_row.i;
        x_cid[c] := v_row.cid; x_stream[c] := v_row.stream_id; x_stream8[c] := v_row.stream8; x_window[c] := v_row.window_ms;
        x_state[c] := v_row.state; x_floor[c] := v_row.replay_floor; x_oldest[c] := v_row.oldest_history;
        x_oldest_ms[c] := v_row.oldest_ms; x_open[c] := v_row.open_streams; x_newest_ms[c] := v_row.newest_ms;
        x_delivery[c] := v_row.delivery; x_history[c] := v_row.history; x_messages[c] := v_row.retained_messages;
        x_bytes[c] := v_row.retained_bytes;
        IF v_row.stream8 = c_promised8[c] AND v_row.delivery < c_promised[c] AND v_row.state <> 1 THEN
            UPDATE @_channels x SET state = 1 WHERE x.cid = v_row.cid;
            x_state[c] := 1;
        END IF;
    END LOOP;

    x_now := @_now();
    o_now := array_replace(o_now, 0::bigint, x_now);

    -- messages and receipts
    SELECT array_agg(s.created), array_agg(s.published_ms), array_agg(s.last), array_agg(s.at_ms), array_agg(s.status::bigint),
           array_agg(s.action::bigint), array_agg(s.bytes), array_agg(s.size), array_agg(s.appends::bigint), array_agg(s.flags::bigint),
           array_agg(s.name_at), array_agg(s.extras_at), array_agg(s.writer), array_agg(s.segments), array_agg(s.folded),
           array_agg(s.tail_rows::bigint), array_agg(s.tail_bytes::bigint), array_agg(s.is_open), array_agg(s.name), array_agg(s.extras),
           array_agg(s.rest), array_agg(0::bigint), array_agg(0::bigint), array_agg(false)
    INTO h_created, h_published, h_last, h_at, h_status, h_action, h_bytes, h_size, h_appends, h_flags, h_name_at, h_extras_at,
         h_writer, h_segments, h_folded, h_tail_rows, h_tail_bytes, h_open, h_name, h_extras, h_rest, h_name_op, h_extras_op,
         h_changed
    FROM (SELECT x.* FROM unnest(m_ch, m_history) WITH ORDINALITY AS a(ch, history, i)
          LEFT JOIN @_messages x ON x.cid = x_cid[a.ch] AND x.history = a.history ORDER BY a.i) s;
    SELECT array_agg(s.delivery), array_agg(s.history), array_agg(s.created), array_agg(s.print)
    INTO d_delivery, d_history, d_created, d_print
    FROM (SELECT coalesce(l.delivery, x.delivery) AS delivery, coalesce(l.history, x.history) AS history, x.created,
                 coalesce(l.print, x.print) AS print
          FROM unnest(o_ch, o_m, o_tag, o_now) WITH ORDINALITY AS a(ch, m, tag, now, i)
          LEFT JOIN @_log l ON a.m > 0 AND l.cid = x_cid[a.ch] AND l.history = m_history[a.m] AND l.tag = a.tag
          LEFT JOIN @_receipts x ON x.cid = x_cid[a.ch] AND x.tag = a.tag AND x.expires_ms > a.now
          ORDER BY a.i) s;

    -- decisions, one by one (chapter 3, 1.9)
    r_result := array_fill(NULL::bigint, ARRAY[n]); r_delivery := r_result; r_history := r_result; r_created := r_result;
    r_at := r_result; r_history_at := r_result; r_open := r_result; r_bytes := r_result; r_appends := r_result; r_was := r_result;
    r_status := r_result; r_action := r_result; r_text := array_fill(NULL::bytea, ARRAY[n]);
    r_string := array_fill(false, ARRAY[n]);
    w_delivery := r_result; w_back := r_result; w_name_back := r_result; w_extras_back := r_result; w_kind := r_result;
    w_cid := r_result; v_first := array_fill(0::bigint, ARRAY[n]);
    FOR o IN SELECT * FROM unnest(o_ch, o_action, o_m, o_created, o_stream8, o_flags, o_status, o_now, o_given, o_size, o_tag,
                                  o_print, o_dup, o_ttl, o_expect, o_expect_bytes, o_writer, o_appends_max, o_open_max, o_bytes_max)
             WITH ORDINALITY AS a(ch, action, m, created, stream8, flags, status, now, given, size, tag, print, dup, ttl, expect,
                                  expect_bytes, writer, appends_max, open_max, bytes_max, i) LOOP
        i := o.i; c := o.ch; m := o.m; r := 0;
        v_creates := m = 0;
        IF x_cid[c] IS NULL THEN
            r := CASE WHEN NOT p_wait AND EXISTS (SELECT FROM @_channels x WHERE x.app_id = c_app[c] AND x.channel = c_name[c])
                      THEN 100 WHEN o.action < 0 THEN 0 WHEN m > 0 THEN 3 ELSE 101 END;
        ELSIF o.action < 0 THEN
            r := CASE WHEN x_state[c] = 1 THEN 10 ELSE 0 END;
        ELSE
            IF x_state[c] = 1 THEN
                r := 10;
            ELSIF m > 0 AND (o.stream8 <> x_stream8[c] OR h_created[m] IS NULL OR h_created[m] <> o.created OR h_action[m] = 4) THEN
                r := 3;
            END IF;
            IF o.tag IS NOT NULL AND (r = 0 OR (r = 3 AND o.stream8 = x_stream8[c])) THEN
                k := CASE WHEN o.dup = 0 THEN 0 WHEN r_result[o.dup] = 0 THEN o.dup ELSE v_first[o.dup] END;
                v_first[i] := k; -- the operation of this batch that has the receipt; 0 = none
                IF k > 0 THEN
                    r := CASE WHEN o_print[k] = o.print THEN 1 ELSE 2 END;
                    r_delivery[i] := r_delivery[k]; r_history[i] := r_history[k]; r_created[i] := r_created[k];
                ELSIF d_delivery[i] IS NOT NULL THEN
                    r := CASE WHEN d_print[i] = o.print THEN 1 ELSE 2 END;
                    r_delivery[i] := d_delivery[i]; r_history[i] := d_history[i];
                    r_created[i] := CASE WHEN m > 0 THEN o.created ELSE d_created[i] END;
                END IF;
            END IF;
            IF r = 0 THEN
                v_was := NOT v_creates AND h_open[m];
                v_status := CASE WHEN (o.flags & 64) <> 0 THEN 0 WHEN (o.flags & 8) <> 0 THEN o.status WHEN v_creates THEN 0
                                 ELSE h_status[m] END;
                v_is := v_status = 1 AND o.action <> 2;
                v_bytes := CASE WHEN o.action = 3 THEN h_bytes[m] + o.given WHEN v_creates OR (o.flags & 33) <> 0 THEN o.given
                                ELSE h_bytes[m] END;
                r := CASE WHEN NOT v_creates AND o.expect <> 0 AND h_last[m] <> o.expect THEN 9
                          WHEN o.action <> 3 THEN 0
                          WHEN (o.flags & 512) <> 0 AND h_bytes[m] <> o.expect_bytes THEN 9
                          WHEN (o.flags & 1024) <> 0 AND h_writer[m] <> o.writer THEN 9
                          WHEN (o.flags & 128) <> 0 AND h_status[m] >= 2 THEN 4
                          WHEN h_flags[m] = 1 THEN 5
                          WHEN o.appends_max > 0 AND h_appends[m] >= o.appends_max THEN 6
                          ELSE 0 END;
                IF r = 0 AND o.bytes_max > 0 AND v_bytes > o.bytes_max THEN
                    r := 7;
                ELSIF r = 0 AND v_is AND NOT v_was
                      AND ((o.flags & 256) <> 0 OR (o.open_max > 0 AND x_open[c] >= o.open_max)) THEN
                    r := 8;
                END IF;
            END IF;
            IF r = 0 THEN -- it is stored
                v_delivery := x_delivery[c] + 1;
                x_delivery[c] := v_delivery;
                x_bytes[c] := x_bytes[c] + o.size;
                x_touched[c] := true;
                x_written_ms[c] := o.now;
                x_open[c] := x_open[c] + v_is::integer - v_was::integer;
                w_cid[i] := x_cid[c]; w_delivery[i] := v_delivery;
                -- replaces: any but an append that gives data, clears it, or is the first
                w_kind[i] := o.action + 8 * v_status + CASE WHEN o.action <> 3 AND (v_creates OR (o.flags & 33) <> 0) THEN 32 ELSE 0 END
                             + CASE WHEN (o.flags & 2) <> 0 THEN 64 ELSE 0 END;
                r_delivery[i] := v_delivery; r_bytes[i] := v_bytes; r_status[i] := v_status; r_appends[i] := 0;
                IF v_creates THEN
                    k := x_history[c] + 1;
                    x_history[c] := k;
                    x_newest_ms[c] := o.now;
                    IF x_messages[c] = 0 THEN
                        x_oldest[c] := k; x_oldest_ms[c] := o.now;
                    END IF;
                    x_messages[c] := x_messages[c] + 1;
                    w_back[i] := 0; w_name_back[i] := 0; w_extras_back[i] := 0;
                    r_history[i] := k; r_created[i] := v_delivery;
                ELSE
                    r_history[i] := m_history[m]; r_created[i] := h_created[m]; r_was[i] := h_status[m];
                    r_action[i] := h_action[m];
                    w_back[i] := v_delivery - h_last[m];
                    h_last[m] := v_delivery; h_at[m] := o.now; h_status[m] := v_status; h_action[m] := o.action;
                    h_bytes[m] := v_bytes; h_size[m] := h_size[m] + o.size; h_writer[m] := o.writer; h_open[m] := v_is;
                    h_changed[m] := true;
                    h_tail_rows[m] := h_tail_rows[m] + 1; h_tail_bytes[m] := h_tail_bytes[m] + o.given;
                    IF o.action = 3 THEN
                        h_appends[m] := h_appends[m] + 1; h_flags[m] := 3;
                    ELSE
                        IF (o.flags & 33) <> 0 THEN
                            h_flags[m] := o.flags & 3;
                        ELSE
                            v_texts := v_texts || i;
                        END IF;
                        IF (o.flags & 20) <> 0 THEN
                            h_name_at[m] := CASE WHEN (o.flags & 4) <> 0 THEN v_delivery ELSE 0 END; h_name_op[m] := i;
                        END IF;
                    END IF;
                    IF (o.flags & 72) <> 0 THEN
                        h_extras_at[m] := CASE WHEN (o.flags & 8) <> 0 THEN v_delivery ELSE 0 END; h_extras_op[m] := i;
                    END IF;
                    w_name_back[i] := CASE WHEN h_name_at[m] = 0 THEN -1 ELSE v_delivery - h_name_at[m] END;
                    w_extras_back[i] := CASE WHEN h_extras_at[m] = 0 THEN -1 ELSE v_delivery - h_extras_at[m] END;
                    r_appends[i] := h_appends[m];
                    IF h_tail_rows[m] = 64 OR (h_tail_bytes[m] >= 65536 AND h_tail_bytes[m] - o.given < 65536) THEN
                        v_folds := v_folds || m;
                    END IF;
                END IF;
            END IF;
        END IF;
        r_result[i] := r; r_at[i] := x_delivery[c]; r_history_at[i] := x_history[c]; r_open[i] := x_open[c];
    END LOOP;

    -- what was decided, written at once
    INSERT INTO @_log
    SELECT a.cid, a.delivery, a.history, a.at_ms, CASE WHEN a.back > 0 THEN a.tag END, CASE WHEN a.back > 0 THEN a.print END,
           a.back, a.name_back, a.extras_back, a.kind, a.data,
           CASE WHEN a.kind & 7 <> 3 THEN a.name END, a.extras, CASE WHEN a.back > 0 THEN a.rest END
    FROM unnest(w_cid, w_delivery, r_history, o_now, o_tag, o_print, w_back, w_name_back, w_extras_back, w_kind, o_data, o_name,
                o_extras, o_rest)
         AS a(cid, delivery, history, at_ms, tag, print, back, name_back, extras_back, kind, data, name, extras, rest)
    WHERE a.delivery IS NOT NULL;
    IF 0 = ANY (w_back) THEN
        INSERT INTO @_messages (cid, history, created, published_ms, is_open, name_at, extras_at, writer, rest, name, extras, flags,
                                status, action, tail_rows, tail_bytes, appends, last, at_ms, bytes, size)
        SELECT a.cid, a.history, a.delivery, a.now, a.status = 1 AND a.action <> 2, CASE WHEN a.name IS NULL THEN 0 ELSE a.delivery END,
               CASE WHEN a.extras IS NULL THEN 0 ELSE a.delivery END, a.writer, a.rest, a.name, a.extras, a.flags & 3, a.status,
               a.action, 1, a.given, 0, a.delivery, a.now, a.given, a.size
        FROM unnest(w_cid, w_delivery, r_history, r_status, o_now, o_action, o_writer, o_flags, o_given, o_size, w_back, o_name,
                    o_extras, o_rest)
             AS a(cid, delivery, history, status, now, action, writer, flags, given, size, back, name, extras, rest)
        WHERE a.back = 0;
        INSERT INTO @_receipts
        SELECT a.cid, a.tag, a.history, a.delivery, a.delivery, a.print, a.now + a.ttl
        FROM unnest(w_cid, w_delivery, r_history, o_now, o_tag, o_print, o_ttl, w_back)
             AS a(cid, delivery, history, now, tag, print, ttl, back)
        WHERE a.back = 0 AND a.tag IS NOT NULL
        ON CONFLICT (cid, tag) DO UPDATE SET history = excluded.history, created = excluded.created, delivery = excluded.delivery,
                                             print = excluded.print, expires_ms = excluded.expires_ms;
    END IF;
    FOREACH m IN ARRAY v_folds LOOP
        IF h_tail_rows[m] > 0 THEN
            PERFORM @_fold(x_cid[m_ch[m]], m_history[m], h_segments[m], h_last[m], h_folded[m]);
            h_segments[m] := h_segments[m] + 1; h_folded[m] := h_last[m]; h_tail_rows[m] := 0; h_tail_bytes[m] := 0;
        END IF;
    END LOOP;
    IF true = ANY (h_changed) THEN
        UPDATE @_messages x
        SET is_open = a.is_open, name_at = a.name_at, extras_at = a.extras_at, writer = a.writer, segments = a.segments,
            folded = a.folded, name = CASE WHEN a.name_op = 0 THEN x.name ELSE o_name[a.name_op] END,
            extras = CASE WHEN a.extras_op = 0 THEN x.extras ELSE o_extras[a.extras_op] END, flags = a.flags, status = a.status,
            action = a.action, tail_rows = a.tail_rows, tail_bytes = a.tail_bytes, appends = a.appends, last = a.last,
            at_ms = a.at_ms, bytes = a.bytes, size = a.size
        FROM unnest(m_ch, m_history, h_changed, h_open, h_name_at, h_extras_at, h_writer, h_segments, h_folded, h_name_op, h_extras_op,
                    h_flags, h_status, h_action, h_tail_rows, h_tail_bytes, h_appends, h_last, h_at, h_bytes, h_size)
             AS a(ch, history, changed, is_open, name_at, extras_at, writer, segments, folded, name_op, extras_op, flags, status, action,
                  tail_rows, tail_bytes, appends, last, at_ms, bytes, size)
        WHERE a.changed AND x.cid = x_cid[a.ch] AND x.history = a.history;
    END IF;
    FOREACH i IN ARRAY v_texts LOOP
        SELECT a.is_string, a.body INTO t FROM @_text(w_cid[i], r_history[i], w_delivery[i]) a;
        r_string[i] := t.is_string; r_text[i] := t.body;
    END LOOP;
    IF true = ANY (x_touched) THEN
        UPDATE @_channels x
        SET window_ms = a.window_ms, oldest_history = a.oldest, oldest_ms = a.oldest_ms, open_streams = a.open,
            newest_ms = a.newest_ms, delivery = a.delivery, history = a.history, retained_messages = a.messages,
            retained_bytes = a.bytes
        FROM unnest(x_cid, x_touched, c_window, x_oldest, x_oldest_ms, x_open, x_newest_ms, x_delivery, x_history, x_messages, x_bytes)
             AS a(cid, touched, window_ms, oldest, oldest_ms, open, newest_ms, delivery, history, messages, bytes)
        WHERE a.touched AND x.cid = a.cid;
    END IF;

    -- retention
    FOR c IN 1..n_c LOOP
        IF x_touched[c] AND ((c_window[c] > 0 AND x_oldest_ms[c] < x_written_ms[c] - c_window[c])
                             OR (c_messages_max[c] > 0 AND x_messages[c] > c_messages_max[c])
                             OR (c_bytes_max[c] > 0 AND x_bytes[c] > c_bytes_max[c])) THEN
            SELECT a.messages, a.bytes INTO t
            FROM @_retain(x_cid[c], x_written_ms[c], c_window[c], c_messages_max[c], c_bytes_max[c], c_evict[c]) a;
            x_evicted[c] := t.messages; x_evicted_bytes[c] := t.bytes;
            SELECT x.replay_floor, x.oldest_history, x.oldest_ms, x.retained_messages, x.retained_bytes INTO t
            FROM @_channels x WHERE x.cid = x_cid[c];
            x_floor[c] := t.replay_floor; x_oldest[c] := t.oldest_history; x_oldest_ms[c] := t.oldest_ms;
            x_messages[c] := t.retained_messages; x_bytes[c] := t.retained_bytes;
        END IF;
    END LOOP;
END $$;
