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
    n_m CONSTANT integer := cardinality(m_ch);
    -- As stored, then as changed: channels and messages by their numbers. What is new: rows in the order of their operations.
    x @_channels[]; h @_messages[]; w_log @_log[]; w_messages @_messages[]; w_receipts @_receipts[];
    v_x @_channels; v_h @_messages; v_receipt @_receipts;
    x_touched boolean[]; x_written_ms bigint[]; h_changed boolean[]; h_named boolean[]; h_extended boolean[];
    d @_receipts[]; -- by operation: whose receipt it finds
    v_rows @_channels[]; v_at integer[]; v_first bigint[]; v_folds bigint[] := '{}'; v_texts bigint[] := '{}'; t record;
    i bigint; c bigint := 0; m bigint; k bigint; r bigint; v_action bigint; v_flags bigint; v_given bigint; v_now bigint; v_tag bigint;
    v_print bigint; v_status bigint; v_bytes bigint; v_delivery bigint; v_history bigint; v_created bigint; v_appends bigint;
    v_was_status bigint; v_was_action bigint; v_was boolean; v_is boolean; v_creates boolean;
BEGIN
    -- channels: made, then locked, both in the order of their keys
    IF true = ANY (c_make) THEN
        INSERT INTO @_channels (app_id, channel, stream_id, stream8)
        SELECT a.app, a.name, a.stream, a.stream8
        FROM unnest(c_app, c_name, c_make, c_stream, c_stream8) WITH ORDINALITY AS a(app, name, make, stream, stream8, i)
        WHERE a.make AND NOT EXISTS (SELECT FROM @_channels y WHERE y.app_id = a.app AND y.channel = a.name)
        ORDER BY a.i
        ON CONFLICT DO NOTHING;
    END IF;
    IF p_wait THEN
        SELECT array_agg(l.y), array_agg(l.i) INTO v_rows, v_at
        FROM (SELECT a.i, y FROM generate_subscripts(c_app, 1) AS a(i)
              JOIN @_channels y ON y.app_id = c_app[a.i] AND y.channel = c_name[a.i]
              WHERE c_lock[a.i] ORDER BY a.i FOR NO KEY UPDATE OF y) l;
    ELSE
        SELECT array_agg(l.y), array_agg(l.i) INTO v_rows, v_at
        FROM (SELECT a.i, y FROM generate_subscripts(c_app, 1) AS a(i)
              JOIN @_channels y ON y.app_id = c_app[a.i] AND y.channel = c_name[a.i]
              WHERE c_lock[a.i] ORDER BY a.i FOR NO KEY UPDATE OF y SKIP LOCKED) l;
    END IF;
    IF false = ANY (c_lock) THEN
        SELECT v_rows || array_agg(y), v_at || array_agg(a.i) INTO v_rows, v_at
        FROM generate_subscripts(c_app, 1) AS a(i) JOIN @_channels y ON y.app_id = c_app[a.i] AND y.channel = c_name[a.i]
        WHERE NOT c_lock[a.i];
    END IF;
    x := array_fill(NULL::@_channels, ARRAY[n_c]); -- all of it: an array whose first element is set later begins there, for unnest() too
    FOR k IN 1..coalesce(cardinality(v_at), 0) LOOP
        c := v_at[k];
        v_x := v_rows[k];
        IF v_x.stream8 = c_promised8[c] AND v_x.delivery < c_promised[c] AND v_x.state <> 1 THEN
            UPDATE @_channels y SET state = 1 WHERE y.cid = v_x.cid;
            v_x.state := 1;
        END IF;
        x[c] := v_x;
    END LOOP;
    x_now := @_now();

    -- messages and receipts
    IF n_m > 0 THEN
        SELECT array_agg(y ORDER BY a.i) INTO h
        FROM generate_subscripts(m_ch, 1) AS a(i)
        LEFT JOIN @_messages y ON y.cid = (x[m_ch[a.i]]).cid AND y.history = m_history[a.i];
        FOR m IN 1..n_m LOOP
            v_h := h[m];
            h_published[m] := v_h.published_ms; h_name[m] := v_h.name; h_extras[m] := v_h.extras; h_rest[m] := v_h.rest;
        END LOOP;
    END IF;
    IF cardinality(array_remove(o_tag, NULL)) > 0 THEN
        SELECT array_agg(CASE WHEN l.cid IS NULL THEN y ELSE (l.cid, l.tag, l.history, NULL, l.delivery, l.print, 0)::@_receipts END
                         ORDER BY a.i)
        INTO d
        FROM generate_subscripts(o_tag, 1) AS a(i)
        LEFT JOIN @_log l ON o_m[a.i] > 0 AND l.cid = (x[o_ch[a.i]]).cid AND l.history = m_history[o_m[a.i]] AND l.tag = o_tag[a.i]
        LEFT JOIN @_receipts y ON y.cid = (x[o_ch[a.i]]).cid AND y.tag = o_tag[a.i]
                                  AND y.expires_ms > CASE WHEN o_now[a.i] = 0 THEN x_now ELSE o_now[a.i] END;
    END IF;

    -- decisions, one by one (chapter 3, 1.9)
    c := 0;
    FOR i IN 1..n LOOP
        IF o_ch[i] <> c THEN
            IF x_touched[c] THEN
                x[c] := v_x;
            END IF;
            c := o_ch[i]; v_x := x[c];
        END IF;
        m := o_m[i]; v_action := o_action[i]; v_flags := o_flags[i]; v_given := o_given[i]; v_tag := o_tag[i]; v_print := o_print[i];
        v_now := CASE WHEN o_now[i] = 0 THEN x_now ELSE o_now[i] END;
        v_creates := m = 0; r := 0; v_delivery := NULL; v_history := NULL; v_created := NULL; v_bytes := NULL; v_appends := NULL;
        v_status := NULL; v_was_status := NULL; v_was_action := NULL;
        IF v_x.cid IS NULL THEN
            r := CASE WHEN NOT p_wait AND EXISTS (SELECT FROM @_channels y WHERE y.app_id = c_app[c] AND y.channel = c_name[c])
                      THEN 100 WHEN v_action < 0 THEN 0 WHEN m > 0 THEN 3 ELSE 101 END;
        ELSIF v_action < 0 THEN
            r := CASE WHEN v_x.state = 1 THEN 10 ELSE 0 END;
        ELSE
            IF NOT v_creates THEN
                v_h := h[m];
            END IF;
            IF v_x.state = 1 THEN
                r := 10;
            ELSIF NOT v_creates AND (o_stream8[i] <> v_x.stream8 OR v_h.created IS NULL OR v_h.created <> o_created[i] OR v_h.action = 4)
            THEN
                r := 3;
            END IF;
            IF v_tag IS NOT NULL AND (r = 0 OR (r = 3 AND o_stream8[i] = v_x.stream8)) THEN
                k := CASE WHEN o_dup[i] = 0 THEN 0 WHEN r_result[o_dup[i]] = 0 THEN o_dup[i] ELSE v_first[o_dup[i]] END;
                v_first[i] := k; -- the operation of this batch that has the receipt; 0 = none
                IF k > 0 THEN
                    r := CASE WHEN o_print[k] = v_print THEN 1 ELSE 2 END;
                    v_delivery := r_delivery[k]; v_history := r_history[k]; v_created := r_created[k];
                ELSIF (d[i]).delivery IS NOT NULL THEN
                    v_receipt := d[i];
                    r := CASE WHEN v_receipt.print = v_print THEN 1 ELSE 2 END;
                    v_delivery := v_receipt.delivery; v_history := v_receipt.history;
                    v_created := CASE WHEN v_creates THEN v_receipt.created ELSE o_created[i] END;
                END IF;
            END IF;
            IF r = 0 THEN
                v_was := NOT v_creates AND v_h.is_open;
                v_status := CASE WHEN (v_flags & 64) <> 0 THEN 0 WHEN (v_flags & 8) <> 0 THEN o_status[i] WHEN v_creates THEN 0
                                 ELSE v_h.status END;
                v_is := v_status = 1 AND v_action <> 2;
                v_bytes := CASE WHEN v_action = 3 THEN v_h.bytes + v_given WHEN v_creates OR (v_flags & 33) <> 0 THEN v_given
                                ELSE v_h.bytes END;
                r := CASE WHEN NOT v_creates AND o_expect[i] <> 0 AND v_h.last <> o_expect[i] THEN 9
                          WHEN v_action <> 3 THEN 0
                          WHEN (v_flags & 512) <> 0 AND v_h.bytes <> o_expect_bytes[i] THEN 9
                          WHEN (v_flags & 1024) <> 0 AND v_h.writer <> o_writer[i] THEN 9
                          WHEN (v_flags & 128) <> 0 AND v_h.status >= 2 THEN 4
                          WHEN v_h.flags = 1 THEN 5
                          WHEN o_appends_max[i] > 0 AND v_h.appends >= o_appends_max[i] THEN 6
                          ELSE 0 END;
                IF r = 0 AND o_bytes_max[i] > 0 AND v_bytes > o_bytes_max[i] THEN
                    r := 7;
                ELSIF r = 0 AND v_is AND NOT v_was
                      AND ((v_flags & 256) <> 0 OR (o_open_max[i] > 0 AND v_x.open_streams >= o_open_max[i])) THEN
                    r := 8;
                END IF;
            END IF;
            IF r = 0 THEN -- it is stored
                v_delivery := v_x.delivery + 1;
                v_x.delivery := v_delivery;
                v_x.retained_bytes := v_x.retained_bytes + o_size[i];
                v_x.open_streams := v_x.open_streams + v_is::integer - v_was::integer;
                v_x.window_ms := c_window[c];
                x_touched[c] := true;
                x_written_ms[c] := v_now;
                IF v_creates THEN
                    v_history := v_x.history + 1; v_created := v_delivery; v_appends := 0;
                    v_x.history := v_history;
                    v_x.newest_ms := v_now;
                    IF v_x.retained_messages = 0 THEN
                        v_x.oldest_history := v_history; v_x.oldest_ms := v_now;
                    END IF;
                    v_x.retained_messages := v_x.retained_messages + 1;
                    w_messages := w_messages || (v_x.cid, v_history, v_delivery, v_now, v_is,
                        CASE WHEN o_name[i] IS NULL THEN 0 ELSE v_delivery END, CASE WHEN o_extras[i] IS NULL THEN 0 ELSE v_delivery END,
                        o_writer[i], 0, 0, o_rest[i], o_name[i], o_extras[i], v_flags & 3, v_status, v_action, 1, v_given, 0, v_delivery,
                        v_now, v_given, o_size[i])::@_messages;
                    IF v_tag IS NOT NULL THEN
                        w_receipts := w_receipts
                            || (v_x.cid, v_tag, v_history, v_delivery, v_delivery, v_print, v_now + o_ttl[i])::@_receipts;
                    END IF;
                    -- replaces: a create's data are the text
                    w_log := w_log || (v_x.cid, v_delivery, v_history, v_now, NULL, NULL, 0, 0, 0,
                        v_action + 8 * v_status + 32 + CASE WHEN (v_flags & 2) <> 0 THEN 64 ELSE 0 END, o_data[i], o_name[i], o_extras[i],
                        NULL)::@_log;
                ELSE
                    v_history := v_h.history; v_created := v_h.created; v_was_status := v_h.status; v_was_action := v_h.action;
                    IF v_action = 3 THEN
                        v_h.appends := v_h.appends + 1; v_h.flags := 3;
                    ELSE
                        IF (v_flags & 33) <> 0 THEN
                            v_h.flags := v_flags & 3;
                        ELSE
                            v_texts := v_texts || i;
                        END IF;
                        IF (v_flags & 20) <> 0 THEN
                            v_h.name_at := CASE WHEN (v_flags & 4) <> 0 THEN v_delivery ELSE 0 END;
                            v_h.name := o_name[i]; h_named[m] := true;
                        END IF;
                    END IF;
                    IF (v_flags & 72) <> 0 THEN
                        v_h.extras_at := CASE WHEN (v_flags & 8) <> 0 THEN v_delivery ELSE 0 END;
                        v_h.extras := o_extras[i]; h_extended[m] := true;
                    END IF;
                    -- replaces: an update or a delete that gives data, or clears them
                    w_log := w_log || (v_x.cid, v_delivery, v_history, v_now, v_tag, v_print, v_delivery - v_h.last,
                        CASE WHEN v_h.name_at = 0 THEN -1 ELSE v_delivery - v_h.name_at END,
                        CASE WHEN v_h.extras_at = 0 THEN -1 ELSE v_delivery - v_h.extras_at END,
                        v_action + 8 * v_status + CASE WHEN v_action <> 3 AND (v_flags & 33) <> 0 THEN 32 ELSE 0 END
                            + CASE WHEN (v_flags & 2) <> 0 THEN 64 ELSE 0 END,
                        o_data[i], CASE WHEN v_action <> 3 THEN o_name[i] END, o_extras[i], o_rest[i])::@_log;
                    v_h.last := v_delivery; v_h.at_ms := v_now; v_h.status := v_status; v_h.action := v_action; v_h.bytes := v_bytes;
                    v_h.size := v_h.size + o_size[i]; v_h.writer := o_writer[i]; v_h.is_open := v_is;
                    v_h.tail_rows := v_h.tail_rows + 1; v_h.tail_bytes := v_h.tail_bytes + v_given;
                    h[m] := v_h; h_changed[m] := true;
                    v_appends := v_h.appends;
                    IF v_h.tail_rows = 64 OR (v_h.tail_bytes >= 65536 AND v_h.tail_bytes - v_given < 65536) THEN
                        v_folds := v_folds || m;
                    END IF;
                END IF;
            ELSIF r > 2 THEN
                v_bytes := NULL; v_status := NULL;
            END IF;
        END IF;
        r_result[i] := r; r_delivery[i] := v_delivery; r_history[i] := v_history; r_created[i] := v_created; r_bytes[i] := v_bytes;
        r_appends[i] := v_appends; r_status[i] := v_status; r_was[i] := v_was_status; r_action[i] := v_was_action;
        r_at[i] := v_x.delivery; r_history_at[i] := v_x.history; r_open[i] := v_x.open_streams;
    END LOOP;
    IF x_touched[c] THEN
        x[c] := v_x;
    END IF;
    r_text := array_fill(NULL::bytea, ARRAY[n]); r_string := array_fill(false, ARRAY[n]);

    -- what was decided, written at once
    INSERT INTO @_log SELECT (a).* FROM unnest(w_log) a;
    IF w_messages IS NOT NULL THEN
        INSERT INTO @_messages SELECT (a).* FROM unnest(w_messages) a;
        INSERT INTO @_receipts SELECT (a).* FROM unnest(w_receipts) a
        ON CONFLICT (cid, tag) DO UPDATE SET history = excluded.history, created = excluded.created, delivery = excluded.delivery,
                                             print = excluded.print, expires_ms = excluded.expires_ms;
    END IF;
    FOREACH m IN ARRAY v_folds LOOP
        v_h := h[m];
        IF v_h.tail_rows > 0 THEN
            PERFORM @_fold(v_h.cid, v_h.history, v_h.segments, v_h.last, v_h.folded);
            v_h.segments := v_h.segments + 1; v_h.folded := v_h.last; v_h.tail_rows := 0; v_h.tail_bytes := 0;
            h[m] := v_h;
        END IF;
    END LOOP;
    IF h_changed IS NOT NULL THEN
        UPDATE @_messages y
        SET is_open = a.is_open, name_at = a.name_at, extras_at = a.extras_at, writer = a.writer, segments = a.segments,
            folded = a.folded, name = CASE WHEN h_named[a.ordinality] THEN a.name ELSE y.name END,
            extras = CASE WHEN h_extended[a.ordinality] THEN a.extras ELSE y.extras END, flags = a.flags, status = a.status,
            action = a.action, tail_rows = a.tail_rows, tail_bytes = a.tail_bytes, appends = a.appends, last = a.last,
            at_ms = a.at_ms, bytes = a.bytes, size = a.size
        FROM unnest(h) WITH ORDINALITY a
        WHERE h_changed[a.ordinality] AND y.cid = a.cid AND y.history = a.history;
    END IF;
    FOREACH i IN ARRAY v_texts LOOP
        SELECT a.is_string, a.body INTO t FROM @_text((x[o_ch[i]]).cid, r_history[i], r_delivery[i]) a;
        r_string[i] := t.is_string; r_text[i] := t.body;
    END LOOP;
    IF x_touched IS NOT NULL THEN
        UPDATE @_channels y
        SET window_ms = a.window_ms, oldest_history = a.oldest_history, oldest_ms = a.oldest_ms, open_streams = a.open_streams,
            newest_ms = a.newest_ms, delivery = a.delivery, history = a.history, retained_messages = a.retained_messages,
            retained_bytes = a.retained_bytes
        FROM unnest(x) WITH ORDINALITY a
        WHERE x_touched[a.ordinality] AND y.cid = a.cid;
    END IF;

    -- retention, and how the channels are now
    FOR c IN 1..n_c LOOP
        v_x := x[c];
        IF x_touched[c] AND ((c_window[c] > 0 AND v_x.oldest_ms < x_written_ms[c] - c_window[c])
                             OR (c_messages_max[c] > 0 AND v_x.retained_messages > c_messages_max[c])
                             OR (c_bytes_max[c] > 0 AND v_x.retained_bytes > c_bytes_max[c])) THEN
            SELECT a.messages, a.bytes INTO t
            FROM @_retain(v_x.cid, x_written_ms[c], c_window[c], c_messages_max[c], c_bytes_max[c], c_evict[c]) a;
            x_evicted[c] := t.messages; x_evicted_bytes[c] := t.bytes;
            SELECT y.* INTO v_x FROM @_channels y WHERE y.cid = v_x.cid;
        ELSE
            x_evicted[c] := NULL; x_evicted_bytes[c] := NULL;
        END IF;
        x_stream[c] := v_x.stream_id; x_state[c] := v_x.state; x_floor[c] := v_x.replay_floor; x_oldest[c] := v_x.oldest_history;
        x_oldest_ms[c] := v_x.oldest_ms; x_newest_ms[c] := v_x.newest_ms; x_messages[c] := v_x.retained_messages;
        x_bytes[c] := v_x.retained_bytes;
    END LOOP;
END $$;
