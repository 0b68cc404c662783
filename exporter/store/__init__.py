"""Symbol statistics over all replicas in Redis, with a thread and time-outs of its own."""
