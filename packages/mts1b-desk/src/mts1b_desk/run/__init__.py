"""Running the whole desk: its processes, their progress, the end, the ledger."""
