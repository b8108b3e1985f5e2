"""People on the bus: tokens, roles, and the auth-callout responder."""
