"""Learns what an ordinary hour looks like, from simulated weeks or from what the store holds."""
