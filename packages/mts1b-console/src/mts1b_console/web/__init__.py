"""The console over HTTP: the only room that knows aiohttp."""
