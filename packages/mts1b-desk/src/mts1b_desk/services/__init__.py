"""The services as processes: the cores, connected to the bus."""
