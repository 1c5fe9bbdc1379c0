-- The event that this one turned out to be the same as (state 2; not known of those that joined before this column was).
ALTER TABLE events ADD COLUMN joined INTEGER;
-- An accepted event that has been looked at is looked at again at this time, and waits since that one; so many attempts
-- have failed. NULL, NULL, 0: not looked at yet.
ALTER TABLE events ADD COLUMN due INTEGER;
ALTER TABLE events ADD COLUMN since INTEGER;
ALTER TABLE events ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
-- Why it was given up (state 3: its data cannot be read).
ALTER TABLE events ADD COLUMN error TEXT;
CREATE INDEX events_due ON events (due) WHERE state = 0 AND due IS NOT NULL;

-- The host whose instance it is.
ALTER TABLE deliveries ADD COLUMN owner TEXT;
-- How often it was sent anew after it had been delivered.
ALTER TABLE deliveries ADD COLUMN round INTEGER NOT NULL DEFAULT 0;

-- When the throttle is over.
ALTER TABLE throttles ADD COLUMN until INTEGER;
