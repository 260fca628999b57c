"""Requirements to lockfiles; reading and checking lockfiles."""
