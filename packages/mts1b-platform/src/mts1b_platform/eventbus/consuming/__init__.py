"""Reading events: pull, hand out, settle, retry, dead-letter; and listening to live ones."""
