"""One run from end to end: build or find the image, run, record, compare, publish."""
