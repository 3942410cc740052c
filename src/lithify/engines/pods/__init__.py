"""The containers of a pod run together without a cluster, one of them standing for all.

`engine` is the whole, on premises of `bundle` or `command_line`; `files` fills volumes as a kubelet does.
"""
