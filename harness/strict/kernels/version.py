"""Which edition of strict's own kernels this is. Standard library only."""

VERSION = "1"
"""Part of every strict run's environment: raise it with any change of a kernel that can move a bit of a result."""
