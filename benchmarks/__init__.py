"""Protocols, their runner and its results: every figure that we publish comes from here."""
