-- Parked deliveries are looked for at each start and in each round of upkeep, old events in each round of retention: without
-- reading the whole history.
CREATE INDEX deliveries_parked ON deliveries (updated) WHERE state = 5;
CREATE INDEX events_received ON events (received);
