"""Containers that run together, by the file or workload that describes them.

`openers` tells what a file is, with `options` of the user's; `group` hardens the members one by one: of `compose`
(whose patch is by `compose_files`), `pods`, `clusters`, `rendered` (charts, kustomizations), `lines` (scripts,
units), or of a `live_workload` with its `replicas`.
"""
