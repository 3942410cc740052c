"""Writes mount plans into the user's own files and changes nothing else in them, a module a format."""
