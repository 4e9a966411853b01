-- CPU that the engine allows a container, in cores: less than its file states where the machine has less.
ALTER TABLE instances ADD COLUMN cpus REAL;

-- Processes of containers that were killed for lack of memory, by the readings between which their number grew.
CREATE TABLE memory_kills (
    id          INTEGER PRIMARY KEY,
    service_id  INTEGER NOT NULL REFERENCES services (id),
    instance_id TEXT    NOT NULL,             -- no foreign key: it outlives the instance
    from_at     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    kills       INTEGER NOT NULL CHECK (kills > 0)
) STRICT;

CREATE INDEX memory_kills_by_service ON memory_kills (service_id, at);
