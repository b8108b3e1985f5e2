"""What the pages show, read as one person: each file reads one thing and makes it into its shape."""
