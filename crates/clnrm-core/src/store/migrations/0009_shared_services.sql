-- A lease without an instance is one of a service that several tests use at once. One with an instance still has it for
-- itself: to the index, NULLs differ from each other.
DROP INDEX one_open_lease_per_instance;
DROP INDEX leases_by_instance;
ALTER TABLE leases RENAME COLUMN instance_id TO leased_instance;
ALTER TABLE leases ADD COLUMN instance_id TEXT; -- no foreign key: how long leases lasted outlives the instance
UPDATE leases SET instance_id = leased_instance;
ALTER TABLE leases DROP COLUMN leased_instance;
CREATE UNIQUE INDEX one_open_lease_per_instance ON leases (instance_id) WHERE released_at IS NULL;
CREATE INDEX leases_by_instance ON leases (instance_id, id);

-- Where clients reach a service whichever of its instances answers.
CREATE TABLE service_addresses (
    id          INTEGER PRIMARY KEY,
    service_id  INTEGER NOT NULL REFERENCES services (id),
    run_id      INTEGER REFERENCES runs (id) ON DELETE CASCADE, -- whose instances answer; NULL = those of no run
    instance_id TEXT REFERENCES instances (id) ON DELETE CASCADE, -- the only one that answers; NULL = every one
    address     TEXT,                         -- of its main port, as of an instance
    ports       TEXT    NOT NULL              -- JSON, as of an instance
) STRICT;

CREATE INDEX addresses_by_service ON service_addresses (service_id);
CREATE INDEX addresses_by_run ON service_addresses (run_id);
CREATE INDEX addresses_by_instance ON service_addresses (instance_id);

-- Backends have names; the list of them is the program's.
ALTER TABLE instances RENAME COLUMN runtime TO one_of_two;
ALTER TABLE instances ADD COLUMN runtime TEXT NOT NULL DEFAULT 'process';
UPDATE instances SET runtime = one_of_two;
ALTER TABLE instances DROP COLUMN one_of_two;
