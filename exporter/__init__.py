"""Monitoring of market data batches: Prometheus metrics and Kafka events from one reading."""
