"""What others read over HTTP; it changes nothing."""
