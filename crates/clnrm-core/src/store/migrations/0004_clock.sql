-- How the clock was set when a service was last sampled. Another start of the same boot = somebody has set it since.
CREATE TABLE sample_clocks (
    service_id INTEGER NOT NULL PRIMARY KEY REFERENCES services (id),
    boot_id    TEXT    NOT NULL,
    started_at INTEGER NOT NULL               -- when the machine started, by the time of day
) STRICT;
