"""Kubernetes: its objects as plain JSON, and copies of workloads that run in scratch namespaces.

`client` asks over `apiserver` and `streams`. `engine` runs a workload, in namespaces of `scratch`; what is copied
there is worked out by `copies`, `quotas` and `roles`, which send nothing. `lent` lends disk, `readers` ask lithify
on other nodes.
"""
