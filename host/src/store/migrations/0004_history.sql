-- The history of a task is asked for by people; without this it is a walk through all events. Only those that are through
-- with enrichment: accept writes as few indexes as it can.
CREATE INDEX events_task ON events (task, seq) WHERE state <> 0;
