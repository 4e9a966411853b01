-- What runs, tests, attempts and steps came to. Reports and events are JSON; the columns beside them are views of it.

ALTER TABLE runs ADD COLUMN selection TEXT;       -- JSON: the paths that were asked for
ALTER TABLE runs ADD COLUMN revision TEXT;        -- the commit, where known
ALTER TABLE runs ADD COLUMN branch TEXT;
-- NULL = still runs, or is older than this column.
ALTER TABLE runs ADD COLUMN verdict TEXT CHECK (verdict IN ('passed', 'failed', 'error', 'interrupted', 'unfinished'));
ALTER TABLE runs ADD COLUMN events TEXT;          -- JSON: what was told of the run as a whole

CREATE TABLE test_results (
    run_id          INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number          INTEGER NOT NULL,             -- in the plan, from 0
    test_id         TEXT    NOT NULL,             -- the path from the project's root, `::`, the name
    attempts        INTEGER NOT NULL,             -- 0 = not run; 2 = once more on fresh instances
    reported        INTEGER NOT NULL,             -- the attempt that the report is of
    waited_ms       REAL    NOT NULL,             -- for its services, all attempts together
    file_digest     TEXT    NOT NULL,
    service_digests TEXT    NOT NULL,             -- JSON: name → digest
    finished_at     INTEGER NOT NULL,
    report          TEXT    NOT NULL,             -- JSON, without its steps
    name            TEXT    AS (report ->> '$.name'),
    file            TEXT    AS (report ->> '$.file'),
    verdict         TEXT    AS (report ->> '$.status'),
    cause           TEXT    AS (report ->> '$.reason'),
    wall_ms         REAL    AS (report ->> '$.duration_ms'),
    PRIMARY KEY (run_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX test_results_by_test ON test_results (test_id, run_id);

CREATE TABLE step_results (
    run_id      INTEGER NOT NULL,
    test        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,                 -- of the test, from 1
    number      INTEGER NOT NULL,                 -- in the test, from 0
    report      TEXT    NOT NULL,                 -- JSON
    name        TEXT    AS (report ->> '$.name'),
    verdict     TEXT    AS (report ->> '$.status'),
    cause       TEXT    AS (report ->> '$.reason'),
    took_ms     REAL    AS (report ->> '$.duration_ms'),
    tries       INTEGER AS (report ->> '$.attempts'),
    PRIMARY KEY (run_id, test, attempt, number),
    FOREIGN KEY (run_id, test) REFERENCES test_results (run_id, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
