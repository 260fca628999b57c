"""Both sides: the documents that cross the wall, and the tables they are made from."""
