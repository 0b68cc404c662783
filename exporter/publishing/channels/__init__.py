"""Interchangeable ways to publish events together with positions."""
