"""The console: what a trading desk looks at in a browser, and where it halts."""

__version__ = "0.1.0"
