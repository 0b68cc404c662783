"""Decodes records, imperfect ones included, and describes those that cannot be decoded. Pure."""
