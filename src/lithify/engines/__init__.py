"""Thin layers over the programs that run containers, one Protocol for all."""
