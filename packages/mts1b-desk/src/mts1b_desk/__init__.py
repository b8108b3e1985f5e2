"""The reference desk: one small real service per producer of MTS1B, each its own process, on the bus alone."""
