"""Runs inside: experiment to data to fits to outputs."""
