"""Breaks a running pipeline on purpose and counts what came of it, to the reading."""
