"""Runs the folds on Faust."""
