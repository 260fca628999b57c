"""One file a library: what `harness.strict.estimators` makes, each with its determinism settings."""
