"""A text classifier as a package: `python -m textcls`."""
