"""Ground for a long-running process: clock, logs, threads, watchdog, locks, limits."""
