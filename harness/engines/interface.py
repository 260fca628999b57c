"""What every engine can do."""

from collections.abc import Callable
from typing import Protocol

from harness.images.build import Image
from harness.spec.run import RunResult, RunSpec

Output = Callable[[bytes], None]


class Engine(Protocol):
    """Something that runs a RunSpec."""

    @property
    def name(self) -> str:
        """What users call it: `docker`, `host`."""

    def describe(self) -> dict[str, str]:
        """Engine, version and what else is worth knowing of it: recorded as host information, never compared."""

    def prepare(self, image: Image) -> None:
        """Make `image` runnable here; at once where it already is.

        Raises:
            IntegrityError: what the engine then holds is not what the image's digest says.
            ToolError: the engine cannot take it.
        """

    def run(self, spec: RunSpec, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        """Run one process to its end. Both callbacks are called in the caller's thread, with bytes as they come.

        However it ends (also by `KeyboardInterrupt`, SIGTERM or an exception in a callback), nothing of the run is left
        running, and everything under `spec.output` belongs to the caller.

        Raises:
            UsageError: the RunSpec asks for something that makes no sense here.
            PrerequisiteError: it asks for a GPU, and the engine cannot hand one over.
            ToolError: the engine refused the run or failed during it. A program that fails is not one: see `exit_code`.
        """
