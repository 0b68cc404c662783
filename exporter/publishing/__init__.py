"""Publishing of events and input positions to Kafka."""
