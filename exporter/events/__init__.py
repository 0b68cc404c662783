"""Monitoring events: their values, encodings and frames."""
