"""What an image holds: looked into, and unpacked.

`image` reads layouts and archives, `layers` unpacks them, `rootfs` looks into a directory and never leaves it,
`store` keeps what was unpacked for the next run.
"""
