"""The spool of our own producers: what they took stays on disk until the broker has acknowledged it."""
