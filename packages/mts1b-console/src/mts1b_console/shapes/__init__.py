"""The contract with the browser: every answer of the HTTP API, every frame of the live connection.

``mts1b console check --types`` prints them as TypeScript.
"""
