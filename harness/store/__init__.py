"""Artifacts by sha256, and where to fetch them from."""
