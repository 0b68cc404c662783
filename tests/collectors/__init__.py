"""Programs for the environment of the collectors: they write or print what cryptofeed and ccxt make of market data."""
