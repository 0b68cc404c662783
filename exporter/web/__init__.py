"""HTTP: metrics, health, the page and the JSON API, all read-only."""
