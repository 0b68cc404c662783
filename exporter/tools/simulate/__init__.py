"""The command `simulate`, and simulated collectors."""
