"""The command `status`: what the live pages of sidecars show, for a terminal."""
