"""Runs inside: bootstrap, seeds, numerics and capture of the environment."""
