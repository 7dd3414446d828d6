"""Ranking metrics and their uncertainty, in NumPy alone: no model code, no torch."""
