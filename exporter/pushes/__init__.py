"""Pushes of other programs: their groups, as a Pushgateway keeps them, but only for a time."""
