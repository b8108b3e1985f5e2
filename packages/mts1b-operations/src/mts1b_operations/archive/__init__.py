"""The archive: what streams held and what audit logs say, in files that outlive both and show any change."""
