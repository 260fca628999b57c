#!/bin/sh
# Run any command strictly as a plain process, without Docker: bin/run_deterministic.sh python train.py
exec "$(dirname "$(readlink -f "$0")")/../.venv/bin/harness" exec --engine host -- "$@"
