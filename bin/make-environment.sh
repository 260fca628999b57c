#!/bin/sh
# Make .venv: the orchestrator's own environment, from lockfiles/host.txt by hash, with the command `harness` in it.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "make-environment: $1" >&2
    exit 2
}

[ -n "${PYTHON:-}" ] || fail "no python3 found. Install Python 3.11 or later, or name one: make PYTHON=/path/to/python3"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$PYTHON is older than 3.11. Name a newer one: make PYTHON=/path/to/python3.11"

if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "make-environment: installing python3-venv and python3-pip, which plain Debian leaves out" >&2
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv python3-pip >/dev/null ||
            fail "apt-get could not install python3-venv; see above"
    else
        fail "$PYTHON has no venv module. As root: apt-get install python3-venv python3-pip"
    fi
fi

rm -rf .venv
"$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r lockfiles/host.txt

"$PWD/.venv/bin/python" bin/link-checkout.py
