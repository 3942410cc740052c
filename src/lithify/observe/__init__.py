"""Sees what a container writes, from the layer, the kernel, the logs and the process table."""
