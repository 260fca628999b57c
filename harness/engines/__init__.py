"""Run a RunSpec: as a container or as a plain process."""
