"""Load on the sidecar's HTTP server, by Locust in processes of its own."""
