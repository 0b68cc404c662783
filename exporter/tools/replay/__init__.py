"""The command `replay`: the analysis of a sidecar over records of the past, at their own time."""
