"""Why two runs of one script differ: which file, where in it, and what kind of thing it is that differs."""
