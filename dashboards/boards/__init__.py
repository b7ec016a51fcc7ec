"""The boards, one module each, generated from the catalogue."""
