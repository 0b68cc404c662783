"""From files, environment and flags to one `Config`; what is wrong is said with its place."""
