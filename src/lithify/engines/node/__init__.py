"""What runs on this host or node, whatever started it.

`containers`, `cri` and `kubelet` find it; `containerd` says where the layers of one are that has ended.
"""
