-- The controller's metadata. The same text runs on SQLite and PostgreSQL: BIGINT, TEXT and plain
-- statements only. Documents are JSON of the types in `isobar-api`, so that the journal, the wire
-- and `-o json` show one and the same text.

-- Who may write. Every change starts by updating this row under its own term: that takes the
-- write lock and proves that the term is still the highest, in one statement.
CREATE TABLE lease (
    id BIGINT PRIMARY KEY,
    holder TEXT NOT NULL,
    term BIGINT NOT NULL,
    expires_unix_ms BIGINT NOT NULL,
    writes BIGINT NOT NULL
);
INSERT INTO lease (id, holder, term, expires_unix_ms, writes) VALUES (1, '', 0, 0, 0);

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('plan', 0);
INSERT INTO counters (name, value) VALUES ('directive', 0);
INSERT INTO counters (name, value) VALUES ('operation', 0);

CREATE TABLE plans (
    plan_id BIGINT PRIMARY KEY,
    at_unix_ms BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE directives (
    directive_id BIGINT PRIMARY KEY,
    plan_id BIGINT NOT NULL,
    shard_id BIGINT NOT NULL,
    state TEXT NOT NULL,
    steps_done BIGINT NOT NULL,
    undo_done BIGINT NOT NULL,
    -- Epoch the next step expects.
    shape BIGINT NOT NULL,
    membership BIGINT NOT NULL,
    -- Shard that a split made; 0: none.
    new_shard BIGINT NOT NULL,
    changed_unix_ms BIGINT NOT NULL,
    -- When the last step was done; 0: not yet.
    applied_unix_ms BIGINT NOT NULL,
    -- Shard, kind and steps: what makes a waiting proposal the same as a new one.
    fingerprint TEXT NOT NULL,
    -- W3C trace context of the plan, so that a resumed directive stays one trace.
    traceparent TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX directives_by_shard ON directives (shard_id, directive_id);
CREATE INDEX directives_by_state ON directives (state, directive_id);
CREATE INDEX directives_by_applied ON directives (applied_unix_ms);
CREATE INDEX directives_by_plan ON directives (plan_id);

CREATE TABLE directive_events (
    directive_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    at_unix_ms BIGINT NOT NULL,
    term BIGINT NOT NULL,
    state TEXT NOT NULL,
    steps_done BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (directive_id, position)
);

CREATE TABLE policies (
    version BIGINT PRIMARY KEY,
    at_unix_ms BIGINT NOT NULL,
    owner TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE freezes (
    scope TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    owner TEXT NOT NULL,
    expires_unix_ms BIGINT NOT NULL
);

CREATE TABLE drains (
    node_id BIGINT PRIMARY KEY,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    started_unix_ms BIGINT NOT NULL,
    replicas_at_start BIGINT NOT NULL
);

-- What people asked for: who, what, when.
CREATE TABLE operations (
    operation_id BIGINT PRIMARY KEY,
    at_unix_ms BIGINT NOT NULL,
    owner TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
);

-- One row per closed telemetry window, so that a restarted controller is warm.
CREATE TABLE arrival_windows (
    start_unix_ms BIGINT PRIMARY KEY,
    window_ms BIGINT NOT NULL,
    body TEXT NOT NULL
);
