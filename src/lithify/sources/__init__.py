"""Workloads read from where they are described: manifests, Compose and stack files, units, task definitions."""
