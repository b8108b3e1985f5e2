"""People on the bus: tokens, roles, and the responder that lets them in."""
