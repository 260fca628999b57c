"""Python runs this before a program's first line, in every process of a run."""

import os
import sys

try:
    from harness.strict import hook

    hook.install()
except BaseException as error:
    sys.stderr.write(f"harness: {error}\n")
    sys.stderr.flush()
    if os.environ.get("REPRO_MODE", "best_effort") != "best_effort":
        os._exit(getattr(error, "exit_code", 4))
