"""Events and positions on their way to Kafka."""
