"""`python3 -m harness.training`: read the task, train, write what came out, and speak in JSON lines on stdout."""

import harness.strict.bootstrap  # noqa: F401 - before anything that could import NumPy; isort: skip

import errno
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from harness.errors import ExitCode, HarnessError, ToolError, UsageError
from harness.record.results import refusal
from harness.spec.task import SCHEMA, TrainingTask
from harness.training.events import Events, keep_stdout

TASK = "task.json"


def main() -> int:
    """Run the task that the environment names; the exit code."""
    events = Events(keep_stdout())
    signal.signal(signal.SIGTERM, _stop)
    try:
        task = _read_task(_folder("HARNESS_TASK") / TASK)
        from harness.training.trainer import train  # late: it imports NumPy, which a broken task need not wait for

        train(task, _folder("HARNESS_DATA"), _folder("HARNESS_OUTPUT"), events)
    except HarnessError as error:
        events.failure(error)
        return int(error.exit_code)
    except OSError as error:
        traceback.print_exc()
        refused = _refused(error)
        events.failure(refused)
        return int(refused.exit_code)
    except Exception as error:
        traceback.print_exc()
        failure = ToolError(f"{type(error).__name__}: {error}", hint="`harness --debug run …` shows its traceback.")
        events.failure(failure)
        return int(failure.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return int(ExitCode.OK)


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise UsageError(f"{variable} is not set", hint="Start the trainer with `harness run`.")
    return Path(value)


def _read_task(path: Path) -> TrainingTask:
    try:
        task = msgspec.json.decode(path.read_bytes(), type=TrainingTask)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read as a task: {error}", hint="Write it with `harness run`.") from error
    if task.schema != SCHEMA:
        raise UsageError(
            f"{path} is written as {task.schema[:60]}, this trainer reads {SCHEMA}",
            hint="Start the trainer with the `harness run` of the same version.",
        )
    return task


def _refused(error: OSError) -> HarnessError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return refusal(error, Path(error.filename or os.environ["HARNESS_OUTPUT"]))
    place = f"{error.filename}: " if error.filename else ""
    return ToolError(f"{place}{error.strerror or error}", hint="Look at the output folder, its disk and rights.")


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
