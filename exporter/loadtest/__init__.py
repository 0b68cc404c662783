"""Load tests of brokers, sidecars and their services; imported by the commands `loadtest` and `report` only."""
