"""What the sidecar costs, on real parts: rate, low load, latency, scrapes, memory, replicas.

`make bench` runs `python -m tests.bench`; nothing here is a test that can fail.
"""
