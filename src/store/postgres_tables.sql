-- postgres_tables.sql - the tables, version by version; what follows a line "-- version n" turns version n - 1 into n.
--
-- SPDX-License-Identifier: Apache-2.0
--
-- Every @ stands for the table prefix. Texts of messages are bytea: they are JSON or names as they came, and no business of the
-- database's encoding. A version, once published, is never edited: a further one follows.
--
-- version 1
CREATE TABLE @_channels (
    cid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    stream_id text NOT NULL,
    stream8 bigint NOT NULL,                       -- its first eight hex digits
    window_ms bigint NOT NULL DEFAULT 0,           -- retention that the newest write asked for; 0 = keep
    state smallint NOT NULL DEFAULT 0,             -- 0 healthy, 1 positions were lost, 2 rows are damaged
    replay_floor bigint NOT NULL DEFAULT 1,
    oldest_history bigint NOT NULL DEFAULT 0,      -- 0 = none retained
    oldest_ms bigint NOT NULL DEFAULT 0,
    open_streams bigint NOT NULL DEFAULT 0,
    newest_ms bigint NOT NULL DEFAULT 0,
    history bigint NOT NULL DEFAULT 0,             -- newest given
    retained_messages bigint NOT NULL DEFAULT 0,
    delivery bigint NOT NULL DEFAULT 0,            -- newest given
    retained_bytes bigint NOT NULL DEFAULT 0,
    UNIQUE (app_id, channel)
) WITH (fillfactor = 60);

-- The small head of a message, and what its create said. What changes with each append stands last and together, here as in
-- channels: the log of an update holds only what lies between the first and the last byte that changed.
CREATE TABLE @_messages (
    cid bigint NOT NULL,
    history bigint NOT NULL,
    created bigint NOT NULL,                       -- delivery of the create
    published_ms bigint NOT NULL,
    is_open boolean NOT NULL,
    name_at bigint NOT NULL,                       -- deliveries of the rows that gave the current name and extras; 0 = none
    extras_at bigint NOT NULL,
    writer bigint NOT NULL,                        -- of the newest version
    segments bigint NOT NULL DEFAULT 0,
    folded bigint NOT NULL DEFAULT 0,              -- newest delivery that a segment holds
    rest bytea,                                    -- of the create: see postgres_texts.c
    name bytea,
    extras bytea,
    flags smallint NOT NULL,                       -- 1 has data, 2 it is a string
    status smallint NOT NULL,
    action smallint NOT NULL,                      -- of the newest version
    tail_rows integer NOT NULL,                    -- since the last fold
    tail_bytes integer NOT NULL,
    appends integer NOT NULL,
    last bigint NOT NULL,                          -- delivery of the newest version
    at_ms bigint NOT NULL,
    bytes bigint NOT NULL,                         -- decoded length of the data
    size bigint NOT NULL,                          -- what retention counts
    PRIMARY KEY (cid, history)
) WITH (fillfactor = 60);
CREATE INDEX @_messages_open ON @_messages (cid, history) WHERE is_open;

-- One row per operation, never changed. kind: action + 8 * status + 32 if data replaces the text so far + 64 if data is the body
-- of a string. Distances count back from delivery: to the version before, to the rows with the name and the extras; 0 = none.
CREATE TABLE @_log (
    cid bigint NOT NULL,
    delivery bigint NOT NULL,
    history bigint NOT NULL,
    at_ms bigint NOT NULL,
    tag bigint,                                    -- receipt within the message
    print bigint,                                  -- fingerprint of the receipt
    back integer NOT NULL,
    name_back integer NOT NULL,
    extras_back integer NOT NULL,
    kind smallint NOT NULL,
    data bytea,
    name bytea,
    extras bytea,
    rest bytea,
    PRIMARY KEY (cid, delivery)
);
CREATE INDEX @_log_message ON @_log (cid, history, tag);

-- The text of up to some 64 rows; the rows stay until retention.
CREATE TABLE @_segments (
    cid bigint NOT NULL,
    history bigint NOT NULL,
    number bigint NOT NULL,
    last bigint NOT NULL,                          -- delivery of its newest row
    replaces boolean NOT NULL,                     -- the text before does not count any more
    is_string boolean NOT NULL,
    data bytea,                                    -- NULL = no data
    PRIMARY KEY (cid, history, number)
);

-- Of creates and ordinary messages until they expire; of mutations whose row went before they were a day old.
CREATE TABLE @_receipts (
    cid bigint NOT NULL,
    tag bigint NOT NULL,
    history bigint NOT NULL,
    created bigint NOT NULL,
    delivery bigint NOT NULL,
    print bigint NOT NULL,
    expires_ms bigint NOT NULL,
    PRIMARY KEY (cid, tag)
);
CREATE INDEX @_receipts_expiry ON @_receipts (expires_ms);

CREATE TABLE @_notes (key bytea PRIMARY KEY, value bytea NOT NULL);

-- Numbers of channels that were reset: their rows wait for the background worker.
CREATE TABLE @_gone (cid bigint PRIMARY KEY);
