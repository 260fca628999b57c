"""torch's CPU kernels that strict replaces, because a library has no switch for them: registered with torch itself."""
