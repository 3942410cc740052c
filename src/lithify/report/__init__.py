"""Writes results as text, JSON and other formats."""
