"""Pearlstream: a smart-city cluster, streamed, aggregated exactly, and made visible."""

__version__ = "0.1.0"
