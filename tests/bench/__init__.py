"""What a batch costs: the sidecar beside a bare loop and an ordinary good one, on a real broker in one run.

`make bench` runs `python -m tests.bench`; nothing here is a test that can fail.
"""
