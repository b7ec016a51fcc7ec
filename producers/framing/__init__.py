"""Frames out of single readings: a topic with one reading a message becomes frames on `readings`."""
