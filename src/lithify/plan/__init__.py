"""Turns a write set into a mount plan: pure functions on model values."""
