"""How a record is read that is not quite what it should be, and what is said of one that cannot be read. Pure."""
