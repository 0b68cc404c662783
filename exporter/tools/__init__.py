"""Commands beside `run`. The sidecar needs none of them."""
