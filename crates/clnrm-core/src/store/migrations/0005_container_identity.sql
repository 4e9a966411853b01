-- The engine that a container is on: its own id, and where it was reached. Another one has nothing to say about it.
ALTER TABLE instances ADD COLUMN engine_id TEXT;
ALTER TABLE instances ADD COLUMN engine_address TEXT;
-- What the name of the image meant when it was started.
ALTER TABLE instances ADD COLUMN image_id TEXT;
