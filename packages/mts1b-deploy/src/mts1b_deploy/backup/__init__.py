"""Backups: all streams with their consumers, and on request everything else of this host; restored, and rehearsed."""
