"""Lockfiles to OCI image, without root, daemon or network."""
