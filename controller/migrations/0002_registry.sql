-- The registry of models. The same rules as in 0001: BIGINT, TEXT and plain statements, documents as JSON.
-- Writes need no lease: people register and promote while a controller runs, and no node hears of it from here.

CREATE TABLE experiments (
    experiment_id BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    at_unix_ms BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('experiment', 0);
INSERT INTO counters (name, value) VALUES ('model_change', 0);

-- What was trained or judged: the data by hash, the seed, the figures.
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    experiment_id BIGINT NOT NULL,
    -- train or evaluate
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    started_unix_ms BIGINT NOT NULL,
    ended_unix_ms BIGINT NOT NULL,
    seed BIGINT NOT NULL,
    -- SHA-256 over the data set's files; empty: not known.
    data_hash TEXT NOT NULL,
    -- SHA-256 of the package's manifest.
    package_hash TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX runs_by_package ON runs (package_hash, data_hash, started_unix_ms);
CREATE INDEX runs_by_experiment ON runs (experiment_id, started_unix_ms);

CREATE TABLE models (
    name TEXT PRIMARY KEY,
    experiment_id BIGINT NOT NULL,
    task TEXT NOT NULL,
    owner TEXT NOT NULL,
    at_unix_ms BIGINT NOT NULL
);

CREATE TABLE model_versions (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    package_hash TEXT NOT NULL,
    schema_hash TEXT NOT NULL,
    data_hash TEXT NOT NULL,
    -- The champion when it was added; 0: none.
    parent BIGINT NOT NULL,
    owner TEXT NOT NULL,
    at_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (name, version),
    UNIQUE (name, package_hash)
);

CREATE TABLE model_aliases (
    name TEXT NOT NULL,
    -- champion or challenger
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    at_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (name, alias)
);

-- Who moved the champion, from where, and why.
CREATE TABLE model_changes (
    change_id BIGINT PRIMARY KEY,
    at_unix_ms BIGINT NOT NULL,
    name TEXT NOT NULL,
    -- promote or rollback
    action TEXT NOT NULL,
    from_version BIGINT NOT NULL,
    to_version BIGINT NOT NULL,
    owner TEXT NOT NULL,
    why TEXT NOT NULL
);
CREATE INDEX model_changes_by_name ON model_changes (name, change_id);
