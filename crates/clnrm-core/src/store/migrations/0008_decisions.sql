-- What was decided about the number of a service's instances, with all that it was decided from.
CREATE TABLE decisions (
    id         INTEGER PRIMARY KEY,
    service_id INTEGER NOT NULL REFERENCES services (id),
    -- Equal holds in a row are one decision, made so many times from the first to the last.
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    count      INTEGER NOT NULL DEFAULT 1,
    -- JSON of the last of them.
    record     TEXT    NOT NULL,
    -- What was done about it.
    action_id  INTEGER REFERENCES scaling_actions (id) ON DELETE SET NULL,
    -- Why nothing is to be done; NULL = something is.
    hold       TEXT    AS (json_extract(record, '$.reason.why.code')),
    instances  INTEGER AS (json_extract(record, '$.from'))
) STRICT;

CREATE INDEX decisions_by_service ON decisions (service_id, id);
CREATE INDEX decisions_by_action ON decisions (action_id) WHERE action_id IS NOT NULL;
