"""Kafka clients, and what is asked through them."""
