-- Warm pools. An instance is free for a lease exactly while it is running and warm_until is set.
ALTER TABLE instances ADD COLUMN pooled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN warm_until INTEGER;
-- What the pool's verification gave when the instance was fresh.
ALTER TABLE instances ADD COLUMN fresh_output TEXT;
-- Tests that it has served and was cleaned after.
ALTER TABLE instances ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
-- How long its last reset and verification took.
ALTER TABLE instances ADD COLUMN cleaned_us INTEGER;

CREATE INDEX warm_instances ON instances (service_id, digest, warm_until) WHERE warm_until IS NOT NULL;
CREATE INDEX leases_by_instance ON leases (instance_id, id);

-- Whether the instance was warm, and how long its test waited for it.
ALTER TABLE leases ADD COLUMN warm INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN wait_us INTEGER;
