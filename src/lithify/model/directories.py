"""Directories of the system itself, as text, for those who can't afford to import pathlib."""

SYSTEM_DIRECTORIES = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr", "/var", "/home", "/opt", "/srv",
    "/usr/bin", "/usr/games", "/usr/include", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec",
    "/usr/libx32", "/usr/local", "/usr/local/bin", "/usr/local/etc", "/usr/local/lib", "/usr/local/sbin",
    "/usr/sbin", "/usr/share", "/usr/src",
)  # fmt: skip
"""A mount may lie somewhere below them, never on them."""

CODE_DIRECTORIES = (
    "/bin", "/boot", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr/bin", "/usr/games", "/usr/include",
    "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/libx32", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin",
)  # fmt: skip
"""They hold programs all the way down: nothing below them may be mounted either."""
