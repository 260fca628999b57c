"""Python runs this before a program's first line, in every process of a run."""

import os
import sys

try:
    from harness.strict import hook

    hook.install()
except BaseException as error:
    strict = os.environ.get("REPRO_MODE", "best_effort") != "best_effort"
    if strict and hasattr(error, "exit_code"):
        from harness.strict.refusal import stop

        stop(str(error), error.exit_code)
    sys.stderr.write(f"harness: {error}\n")
    sys.stderr.flush()
    if strict:
        os._exit(4)
