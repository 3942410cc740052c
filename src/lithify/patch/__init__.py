"""Says a mount plan in the user's own words: run lines and files."""
