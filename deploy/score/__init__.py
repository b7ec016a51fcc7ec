"""The score: scenarios folded in process over many seeds, and their claims held against what the rules said."""
