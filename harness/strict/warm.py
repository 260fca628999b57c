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
# What libraries import when they are first used.
_LATE = {"torch": ("torch._dynamo",)}  # by every optimizer; compiling it takes seconds
_NOT_NEEDED = re.compile(r"/(test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip)/")


def main() -> NoReturn:
    """Write bytecode under `$HARNESS_OUTPUT/bytecode`, then leave without the libraries' own farewells."""
    # Imports of strangers can hang: then say where, rather than wait for the run's time limit.
    faulthandler.dump_traceback_later(_PATIENCE_SECONDS, exit=True)
    sys.pycache_prefix = str(Path(os.environ["HARNESS_OUTPUT"], "bytecode"))
    sys.dont_write_bytecode = False
    helper = os.fork()  # before any import that starts threads
    if helper == 0:
        compileall.compile_dir(sysconfig.get_path("stdlib"), quiet=2, rx=_NOT_NEEDED)
        os._exit(0)
    for name in sorted(packages_distributions()):
        if not name.startswith("_") and name.isidentifier():
            import_quietly(name, *_LATE.get(name, ()))
    os.waitpid(helper, 0)
    sys.stderr.flush()
    os._exit(0)


def import_quietly(*names: str) -> None:
    """Import modules; where one cannot be, say so and go on: it may need what only its users have."""
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
