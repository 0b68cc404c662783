"""Shows the risk of portfolios now, and what scenarios would do to them."""
