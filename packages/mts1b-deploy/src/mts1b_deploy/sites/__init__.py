"""One site in place of another: promoted, the old one kept from storing, what was lost listed."""
