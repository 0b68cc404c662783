"""What is known of each feed besides its counts, and what follows from all of it together."""
