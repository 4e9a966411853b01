-- A metric or a statistic more needs no column here. `summaries` holds one part of 49 bytes for each metric that was
-- measured, after a byte that says so (1): the number of the metric's column in raw_samples, counted from 1 for the
-- first metric, and count, mean, variance (-1 = not known: from before it was kept), min, max and last as big-endian
-- doubles. The program packs what was recorded so far.
ALTER TABLE rollups RENAME TO wide_rollups;

CREATE TABLE rollups (
    service_id    INTEGER NOT NULL REFERENCES services (id),
    tier          TEXT    NOT NULL,
    slot          INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 999),
    start_at      INTEGER NOT NULL,
    samples       INTEGER NOT NULL,
    instances_max INTEGER NOT NULL,
    summaries     BLOB    NOT NULL,
    PRIMARY KEY (service_id, tier, slot)
) STRICT, WITHOUT ROWID;

-- How far each service's rings have turned, a row for each tier that has an entry: entry number n, counted from 0, is in
-- slot n modulo 1000. Rollups are written when their bucket closes; what is open is made of the entries of the next finer
-- tier from number open_from on.
CREATE TABLE tier_rings (
    service_id INTEGER NOT NULL REFERENCES services (id),
    tier       TEXT    NOT NULL,
    written    INTEGER NOT NULL,
    open_from  INTEGER NOT NULL,
    newest_at  INTEGER NOT NULL,              -- of the entry written last
    PRIMARY KEY (service_id, tier)
) STRICT, WITHOUT ROWID;

INSERT INTO tier_rings
SELECT service_id, 'raw', raw_written, 0, newest_at FROM rings WHERE raw_written > 0
UNION ALL
SELECT service_id, 'minute', minute_written, minute_from, start_at
FROM rings JOIN wide_rollups USING (service_id) WHERE tier = 'minute' AND slot = (minute_written - 1) % 1000
UNION ALL
SELECT service_id, 'quarter_hour', quarter_hour_written, quarter_hour_from, start_at
FROM rings JOIN wide_rollups USING (service_id) WHERE tier = 'quarter_hour' AND slot = (quarter_hour_written - 1) % 1000;

DROP TABLE rings;
ALTER TABLE tier_rings RENAME TO rings;

-- For people: the rollups, a row for each metric. The shell `sqlite3` has the function that unpacks a double; the program
-- itself does not look at this.
CREATE VIEW rollup_metrics AS
WITH RECURSIVE part (number, first) AS (
    SELECT 0, 2 UNION ALL SELECT number + 1, first + 49 FROM part WHERE number < 99
)
SELECT service_id, tier, strftime('%Y-%m-%dT%H:%M:%SZ', start_at / 1000, 'unixepoch') AS start, name AS metric,
       CAST(ieee754_from_blob(substr(summaries, first + 1, 8)) AS INTEGER) AS count,
       ieee754_from_blob(substr(summaries, first + 9, 8)) AS mean,
       nullif(ieee754_from_blob(substr(summaries, first + 17, 8)), -1) AS variance,
       ieee754_from_blob(substr(summaries, first + 25, 8)) AS min,
       ieee754_from_blob(substr(summaries, first + 33, 8)) AS max,
       ieee754_from_blob(substr(summaries, first + 41, 8)) AS last
FROM rollups
JOIN part ON first < length(summaries)
JOIN pragma_table_info('raw_samples') ON cid = 3 + unicode(CAST(substr(summaries, first, 1) AS TEXT))
ORDER BY service_id, tier, start_at, cid;
