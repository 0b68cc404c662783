"""Symbol statistics added up over replicas in Redis: its own thread, its own time-outs, never in the way."""
