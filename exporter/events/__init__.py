"""Monitoring events: what they say, how they are encoded and framed."""
