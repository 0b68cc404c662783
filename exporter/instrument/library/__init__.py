"""The instrumentation library: collectors, metrics and decorators for other programs, on prometheus-client."""
