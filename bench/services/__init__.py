"""Sixteen real services from Debian's packages, what builds them, and the table of how they fare read-only."""
