"""Measurements that print a ratio or a table, on real parts."""
