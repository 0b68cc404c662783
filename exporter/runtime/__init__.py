"""Parts of any long-running process: clock, logs, threads, watchdog, locks, limits."""
