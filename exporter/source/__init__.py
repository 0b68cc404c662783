"""Records from Kafka: the consumer, its offsets, its connection."""
