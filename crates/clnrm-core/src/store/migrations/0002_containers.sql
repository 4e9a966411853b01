-- The engine's id of an instance that is a container.
ALTER TABLE instances ADD COLUMN container_id TEXT;
