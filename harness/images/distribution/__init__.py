"""A registry, spoken to over HTTP and believed nowhere."""
