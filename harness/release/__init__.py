"""Release: baselines of environments, what drifted from them since, and the check that a release must pass."""
