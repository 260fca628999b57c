"""Compile ahead what an image's Python will import: run once per image, its bytecode is mounted into later runs.

Standard library only. What is compiled is what importing each installed top-level package loads, and the standard
library; what is left over is compiled, and forgotten, by the runs that need it.
"""

import compileall
import faulthandler
import importlib
import os
import re
import sys
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NoReturn

_PATIENCE_SECONDS = 150
_NOT_NEEDED = re.compile(r"/(test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip)/")


def main() -> NoReturn:
    """Write bytecode under `$HARNESS_OUTPUT/bytecode`, then leave without the libraries' own farewells."""
    # Imports of strangers can hang: then say where, rather than wait for the run's time limit.
    faulthandler.dump_traceback_later(_PATIENCE_SECONDS, exit=True)
    sys.pycache_prefix = str(Path(os.environ["HARNESS_OUTPUT"], "bytecode"))
    sys.dont_write_bytecode = False
    compileall.compile_dir(sysconfig.get_path("stdlib"), quiet=2, rx=_NOT_NEEDED)
    for name in sorted(packages_distributions()):
        if not name.startswith("_") and name.isidentifier():
            try:
                importlib.import_module(name)
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
