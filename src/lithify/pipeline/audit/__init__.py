"""Sources and rules joined into reports: of files, engines, clusters and nodes.

`files`, `engine` and `cluster` find inputs; `judge` judges each, for many over `spread`, `spool` and `cache`.
`edits`, `baseline` and `merge` come after.
"""
