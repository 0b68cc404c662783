"""Families from what is known, and the text that Prometheus reads."""
