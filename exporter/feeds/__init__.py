"""What is known of each feed, and its health. Pure."""
