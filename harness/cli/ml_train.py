"""The command `ml-train`: train with one seed or several, deterministic or fast, as a YAML file and options say."""

import os
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
import typer.core

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.main import Ending, run_app, show_tracebacks
from harness.cli.options import open_store, split
from harness.cli.tables import ensemble_report, run_report
from harness.runs.configuration import configure
from harness.runs.environment import require_machine
from harness.runs.mltrain import Outcome, ml_train
from harness.runs.opening import EngineName, open_engine
from harness.runs.project import find_root
from harness.spec.run import Profile

app = typer.Typer(
    name="ml-train",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Command(Ending, typer.core.TyperCommand):
    """The command."""


@app.command(cls=_Command)
def train(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="What to train, and how.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Base seed (default 42); given several times, an ensemble.")
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            help="Bits that repeat, or seeds alone with threads and cuDNN's autotuning left free (the default).",
        ),
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="An experiment by name or path (determinism_test).")] = None,
    data_dir: Annotated[str | None, typer.Option(help="A panel file, or a folder with exactly one.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Symbols to train on, separated by commas.")] = None,
    targets: Annotated[str | None, typer.Option(help="Targets, such as fwd_ret_10d,fwd_up_10d.")] = None,
    features: Annotated[str | None, typer.Option(help="Features, in this order.")] = None,
    families: Annotated[str | None, typer.Option(help="Model families of the experiment to train.")] = None,
    quick: Annotated[
        bool | None, typer.Option("--quick/--full", help="The experiment's quick variant, or all of it.")
    ] = None,
    engine: Annotated[EngineName | None, typer.Option(help="docker isolates the run; host does not.")] = None,
    image: Annotated[str | None, typer.Option(help="The image to run in: a name under docker/ (cpu).")] = None,
    profile: Annotated[Profile | None, typer.Option(help="native, or x86-64-v3.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Fits side by side (default: one a core).")] = None,
    memory: Annotated[int | None, typer.Option(min=1, help="Memory limit in MiB.")] = None,
    time_limit: Annotated[float | None, typer.Option(min=0.1, help="Time limit of each run in seconds.")] = None,
    output_dir: Annotated[str | None, typer.Option(help="Where runs and ensembles are kept (RESULTS).")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name, or the ensemble's.")] = None,
    kept: Annotated[
        list[str] | None, typer.Option("--with", metavar="RUN", help="A kept run to take as a member of the ensemble.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Train with one seed, or an ensemble over several, and keep what came out.

    Examples:
      ml-train                                         seed 42, fast, the default experiment

      ml-train --seed 42 --deterministic               the same bits each time

      ml-train --seed 42 --seed 123 --seed 456         three members, their mean, spread and average

      ml-train config.yaml --quick --engine host

    What holds: options over REPRO_SEED and REPRO_MODE, these over CONFIG.yaml, that over the defaults.

    Exit codes: 0 identical or unverified, 1 divergent, 2 trouble, 3 incomparable, 4 integrity failure.
    """
    show_tracebacks(debug)
    overrides = {
        "seed": tuple(seed) if seed else None,
        "deterministic": deterministic,
        "experiment": experiment,
        "data_dir": data_dir,
        "symbols": split(symbols),
        "targets": split(targets),
        "features": split(features),
        "families": split(families),
        "quick": quick,
        "engine": engine,
        "image": image,
        "profile": profile,
        "workers": workers,
        "memory": memory,
        "time_limit": time_limit,
        "output_dir": output_dir,
        "name": name,
    }
    configuration = configure(config, os.environ, overrides)
    root = find_root(Path.cwd())
    if configuration.engine is EngineName.DOCKER:
        require_machine(configuration.image, root)
    store = open_store()
    with ConsoleProgress() as progress:
        opened = open_engine(configuration.engine, root, store, progress)
        outcome = ml_train(configuration, tuple(kept or ()), root=root, store=store, engine=opened, progress=progress)
    _print(outcome, as_json=as_json)
    return outcome.exit_code


def _print(outcome: Outcome, *, as_json: bool) -> None:
    report = outcome.run or outcome.ensemble
    if report is None:  # a program says what it has to say itself
        return
    if as_json:
        stdout.file.write(msgspec.json.encode(report).decode() + "\n")
    elif outcome.run is not None:
        run_report(outcome.run)
    elif outcome.ensemble is not None:
        ensemble_report(outcome.ensemble)


def main() -> NoReturn:
    """Run the command and exit, with errors and codes as those of `harness`."""
    run_app(app, "ml-train")


if __name__ == "__main__":
    main()
