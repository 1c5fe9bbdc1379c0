-- Parked deliveries are looked for at each start and in each round of upkeep: without reading the whole history.
CREATE INDEX deliveries_parked ON deliveries (updated) WHERE state = 5;
