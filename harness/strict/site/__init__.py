"""The folder that a run's `PYTHONPATH` begins with: its `sitecustomize` runs in every Python process."""
