"""Trading strategies: small plugins that look at closing prices and say which position they want."""
