"""Faults in real parts: a proxy that acts on single requests, directed tests, and a matrix at random."""
