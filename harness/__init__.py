"""The hermetic training harness: digest-pinned images, strict training, fingerprints that can be compared."""
