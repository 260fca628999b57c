"""Compile ahead what an image's Python will import: run once per image, its bytecode is mounted into later runs.

Standard library only. What is compiled is what importing each installed top-level package loads, and the standard
library; what is left over is compiled, and forgotten, by the runs that need it.
"""

import compileall
import importlib
import os
import re
import sys
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

_NOT_NEEDED = re.compile(r"/(test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip)/")


def main() -> None:
    """Write bytecode under `$HARNESS_OUTPUT/bytecode`."""
    sys.pycache_prefix = str(Path(os.environ["HARNESS_OUTPUT"], "bytecode"))
    sys.dont_write_bytecode = False
    compileall.compile_dir(sysconfig.get_path("stdlib"), quiet=2, rx=_NOT_NEEDED)
    for name in sorted(packages_distributions()):
        if not name.startswith("_") and name.isidentifier():
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001 - a package that cannot be imported alone is not needed alone
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
