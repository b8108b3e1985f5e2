"""The books of a session as a person wants them: from its events, as a page, as Markdown or as JSON."""
