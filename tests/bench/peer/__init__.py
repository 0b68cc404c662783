"""Programs of others that do what the bare loop does, each run with the packages of `tests/parts/peers.sh`."""
