"""Plans written into the user's own files: `patch` says how, `write` and `write_folder` put that there or take it
back.
"""
