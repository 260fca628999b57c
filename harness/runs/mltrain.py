"""`ml-train`: one run, an ensemble, or a program of the user's, as its configuration says."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.engines.interface import Engine
from harness.errors import UsageError
from harness.runs.configuration import Configuration, exec_request, run_request
from harness.runs.ensemble import EnsembleReport, train_ensemble
from harness.runs.execute import execute_program
from harness.runs.publish import RunReport
from harness.runs.request import RunRequest
from harness.runs.train import train
from harness.store.progress import Progress
from harness.store.store import Store


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: a run's report, an ensemble's, or neither after a program, whose own exit code this is."""

    exit_code: int
    run: RunReport | None = None
    ensemble: EnsembleReport | None = None


def ml_train(
    configuration: Configuration,
    kept: Sequence[str],
    *,
    root: Path,
    store: Store,
    engine: Engine,
    progress: Progress,
) -> Outcome:
    """Do what the configuration asks for; `kept` are runs to take as members of an ensemble.

    Raises:
        HarnessError: with the exit code that the command answers.
    """

    def train_one(request: RunRequest) -> RunReport:
        return train(request, root=root, store=store, engine=engine, progress=progress)

    if configuration.program is not None:
        if kept:
            raise UsageError("--with does not go with program", hint="Only runs of experiments are averaged.")
        request = exec_request(configuration)
        code = execute_program(request, root=root, store=store, engine=engine, progress=progress)
        return Outcome(exit_code=code)
    if len(configuration.seeds) == 1 and not kept:
        run = train_one(run_request(configuration, configuration.seeds[0], configuration.name))
        return Outcome(exit_code=run.exit_code, run=run)
    ensemble = train_ensemble(
        configuration, kept, root=root, store=store, engine=engine, progress=progress, train=train_one
    )
    return Outcome(exit_code=ensemble.exit_code, ensemble=ensemble)
