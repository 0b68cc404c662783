"""Real parts for the tests: Kafka, Redis and Prometheus, started on free loopback ports and ended by process id."""
