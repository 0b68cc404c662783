"""Load of a Kafka cluster, and what becomes of it at a sidecar."""
