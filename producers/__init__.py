"""Puts frames on Kafka: the simulator, files by a mapping."""
