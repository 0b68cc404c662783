"""Load of a Redis with the operations of the store."""
