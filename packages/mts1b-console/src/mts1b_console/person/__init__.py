"""A person who is signed in: the connection with that person's token, the rights, and who answers looks and acts."""
