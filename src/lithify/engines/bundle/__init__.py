"""Root filesystem directories and image files, run with an overlay and an OCI runtime: no daemon, no registry.

`engine` is the whole: `prepare` lays out what `spec`, `places` and `network` say, `runtime` and `shim` start it,
`state` keeps it. `rootless` and `adopt` are for ordinary users, `render` writes the result.
"""
