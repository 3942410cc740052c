"""Services of a Compose project, with the rest of the project around them.

`engine` runs one of them, in scratch copies by `project`; `flags` put a plan into words.
"""
