"""Where services keep their state: SQLite by default, PostgreSQL by configuration."""
