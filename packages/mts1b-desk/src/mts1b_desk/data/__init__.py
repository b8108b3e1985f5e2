"""Sources of market data: files of quotes, trades or bars, and a simulated market."""
