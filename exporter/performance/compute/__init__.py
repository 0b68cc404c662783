"""Array work and inference: each engine is one file."""
