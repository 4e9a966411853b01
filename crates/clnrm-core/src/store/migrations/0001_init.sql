-- Times are UTC milliseconds since 1970. A NULL measurement was not measured. JSON columns hold what no query looks into.

CREATE TABLE services (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    file        TEXT    NOT NULL,             -- the test file that first declared it
    digest      TEXT    NOT NULL,             -- of the definition
    definition  TEXT    NOT NULL,             -- JSON
    sources     TEXT,                         -- JSON: where each metric comes from, or why it is absent
    updated_at  INTEGER NOT NULL,
    UNIQUE (name, digest),
    UNIQUE (name, file)
) STRICT;

CREATE TABLE runs (
    id                INTEGER PRIMARY KEY,
    owner_pid         INTEGER NOT NULL,
    owner_start_ticks INTEGER NOT NULL,
    owner_boot_id     TEXT    NOT NULL,
    keep              INTEGER NOT NULL CHECK (keep IN (0, 1)),
    started_at        INTEGER NOT NULL,
    finished_at       INTEGER
) STRICT;

CREATE INDEX unfinished_runs ON runs (id) WHERE finished_at IS NULL;

CREATE TABLE instances (
    id                TEXT    NOT NULL PRIMARY KEY,
    service_id        INTEGER NOT NULL REFERENCES services (id),
    run_id            INTEGER REFERENCES runs (id),
    digest            TEXT    NOT NULL,       -- of the definition that it was started from
    state             TEXT    NOT NULL CHECK (state IN ('starting', 'running', 'stopping', 'stopped', 'failed', 'lost')),
    runtime           TEXT    NOT NULL CHECK (runtime IN ('process', 'container')),
    dir               TEXT    NOT NULL,
    ports             TEXT    NOT NULL,       -- JSON
    address           TEXT,
    owner_pid         INTEGER NOT NULL,
    owner_start_ticks INTEGER NOT NULL,
    owner_boot_id     TEXT    NOT NULL,
    shim_pid          INTEGER,
    shim_start_ticks  INTEGER,
    shim_boot_id      TEXT,
    main_pid          INTEGER,
    created_at        INTEGER NOT NULL,
    ready_at          INTEGER,
    stopped_at        INTEGER,
    exit_code         INTEGER,
    exit_signal       INTEGER,
    exit_message      TEXT,
    CHECK ((shim_pid IS NULL) = (shim_start_ticks IS NULL) AND (shim_pid IS NULL) = (shim_boot_id IS NULL)),
    CHECK ((stopped_at IS NULL) = (state IN ('starting', 'running', 'stopping')))
) STRICT;

CREATE INDEX instances_by_service ON instances (service_id, created_at);
CREATE INDEX instances_by_run ON instances (run_id);
CREATE INDEX live_instances ON instances (service_id) WHERE stopped_at IS NULL;

-- The last raw reading of a live instance: a rate needs two, and the second may come from another command.
CREATE TABLE readings (
    instance_id TEXT    NOT NULL PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    read_at     INTEGER NOT NULL,
    reading     TEXT    NOT NULL              -- JSON
) STRICT, WITHOUT ROWID;

-- How far each service's rings have turned: the next slot of a ring is its written count modulo 1000.
CREATE TABLE rings (
    service_id             INTEGER NOT NULL PRIMARY KEY REFERENCES services (id),
    raw_written            INTEGER NOT NULL,
    raw_newest_at          INTEGER NOT NULL,
    minute_written         INTEGER NOT NULL,
    minute_newest_at       INTEGER NOT NULL,
    quarter_hour_written   INTEGER NOT NULL,
    quarter_hour_newest_at INTEGER NOT NULL
) STRICT;

CREATE TABLE raw_samples (
    service_id         INTEGER NOT NULL REFERENCES services (id),
    slot               INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 999),
    sampled_at         INTEGER NOT NULL,
    instances          INTEGER NOT NULL,
    cpu_percent        REAL,
    memory_mb          REAL,
    memory_total_mb    REAL,
    network_mb_per_s   REAL,
    active_connections REAL,
    request_rate       REAL,
    response_time_ms   REAL,
    error_rate         REAL,
    PRIMARY KEY (service_id, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollups (
    service_id               INTEGER NOT NULL REFERENCES services (id),
    tier                     TEXT    NOT NULL CHECK (tier IN ('minute', 'quarter_hour')),
    slot                     INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 999),
    start_at                 INTEGER NOT NULL,
    samples                  INTEGER NOT NULL,
    instances_max            INTEGER NOT NULL,
    cpu_percent_min          REAL,
    cpu_percent_mean         REAL,
    cpu_percent_max          REAL,
    cpu_percent_last         REAL,
    cpu_percent_count        INTEGER,
    memory_mb_min            REAL,
    memory_mb_mean           REAL,
    memory_mb_max            REAL,
    memory_mb_last           REAL,
    memory_mb_count          INTEGER,
    memory_total_mb_min      REAL,
    memory_total_mb_mean     REAL,
    memory_total_mb_max      REAL,
    memory_total_mb_last     REAL,
    memory_total_mb_count    INTEGER,
    network_mb_per_s_min     REAL,
    network_mb_per_s_mean    REAL,
    network_mb_per_s_max     REAL,
    network_mb_per_s_last    REAL,
    network_mb_per_s_count   INTEGER,
    active_connections_min   REAL,
    active_connections_mean  REAL,
    active_connections_max   REAL,
    active_connections_last  REAL,
    active_connections_count INTEGER,
    request_rate_min         REAL,
    request_rate_mean        REAL,
    request_rate_max         REAL,
    request_rate_last        REAL,
    request_rate_count       INTEGER,
    response_time_ms_min     REAL,
    response_time_ms_mean    REAL,
    response_time_ms_max     REAL,
    response_time_ms_last    REAL,
    response_time_ms_count   INTEGER,
    error_rate_min           REAL,
    error_rate_mean          REAL,
    error_rate_max           REAL,
    error_rate_last          REAL,
    error_rate_count         INTEGER,
    PRIMARY KEY (service_id, tier, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE scaling_actions (
    id               INTEGER PRIMARY KEY,
    service_id       INTEGER NOT NULL REFERENCES services (id),
    at               INTEGER NOT NULL,
    from_instances   INTEGER NOT NULL,
    to_instances     INTEGER NOT NULL,
    reason           TEXT    NOT NULL,
    memory_mb_before REAL,
    outcome          TEXT    NOT NULL CHECK (outcome IN ('started', 'done', 'failed')),
    message          TEXT,
    took_ms          INTEGER
) STRICT;

CREATE INDEX scaling_actions_by_service ON scaling_actions (service_id, id);

CREATE TABLE leases (
    id                INTEGER PRIMARY KEY,
    instance_id       TEXT    NOT NULL,       -- no foreign key: how long leases lasted outlives the instance
    service_id        INTEGER NOT NULL REFERENCES services (id),
    run_id            INTEGER REFERENCES runs (id) ON DELETE SET NULL,
    test              TEXT    NOT NULL,
    owner_pid         INTEGER NOT NULL,
    owner_start_ticks INTEGER NOT NULL,
    owner_boot_id     TEXT    NOT NULL,
    acquired_at       INTEGER NOT NULL,
    released_at       INTEGER
) STRICT;

CREATE UNIQUE INDEX one_open_lease_per_instance ON leases (instance_id) WHERE released_at IS NULL;
CREATE INDEX leases_by_service ON leases (service_id, id);
CREATE INDEX leases_by_run ON leases (run_id);
