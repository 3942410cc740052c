"""Drives a container, tries what it refuses, and compares two runs."""
