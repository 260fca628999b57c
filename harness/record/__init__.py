"""Both sides: canonical JSON, digests, signatures, snapshots, comparison and the layout of results."""
