"""Several instances of one reader that keep the order: one of them is handed events, another takes over."""
