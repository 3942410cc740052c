"""Turns a container's root filesystem read-only and keeps the program in it working."""

__version__ = "0.1.0"
