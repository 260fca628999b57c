"""What `ml-train` trains and how: a YAML file's keys, with variables and the command line over them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UsageError
from harness.runs.execute import ExecRequest
from harness.runs.opening import EngineName
from harness.runs.request import RunRequest
from harness.spec.documents import load_document
from harness.spec.experiment import Natural, Positive, Reproducibility
from harness.spec.reproducibility import BASE_SEED, resolve
from harness.spec.run import Mode, Profile

_ONLY_EXPERIMENTS = ("symbols", "targets", "features", "families", "quick", "workers")


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys of an `ml-train` file; paths are seen from the working folder, `memory` is in MiB, times in seconds.

    Several seeds make an ensemble. `deterministic` is mode strict, its opposite best_effort. `program` is a command
    line to run in the place of an experiment. `name` is the run's, or the ensemble's.
    """

    seed: Natural | tuple[Natural, ...] = BASE_SEED
    deterministic: bool = False
    experiment: str = "determinism_test"
    program: tuple[str, ...] | None = None
    data_dir: str | None = None
    symbols: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    families: tuple[str, ...] | None = None
    quick: bool = False
    engine: EngineName = EngineName.DOCKER
    image: str = "cpu"
    profile: Profile = Profile.NATIVE
    workers: Positive | None = None
    memory: Positive | None = None
    time_limit: float | None = None
    output_dir: str = "RESULTS"
    name: str | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order in which they were given."""
        return self.seed if isinstance(self.seed, tuple) else (self.seed,)

    @property
    def mode(self) -> Mode:
        """The mode that `deterministic` asks for."""
        return Mode.STRICT if self.deterministic else Mode.BEST_EFFORT


def configure(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Configuration:
    """The defaults, the YAML file `path`, `REPRO_SEED` and `REPRO_MODE`, and `overrides` that are not null, in turn.

    Raises:
        UsageError: a key of the file is unknown or mistyped (the message names file, line and key), a variable or an
            override means nothing, a seed is given twice, or a key does not go with `program`.
    """
    configuration = Configuration() if path is None else load_document(path, Configuration)
    if "REPRO_SEED" in environ or "REPRO_MODE" in environ:
        settings = resolve(Reproducibility(mode=configuration.mode), environ)
        if "REPRO_SEED" in environ:
            configuration = msgspec.structs.replace(configuration, seed=settings.seed)
        configuration = msgspec.structs.replace(configuration, deterministic=settings.mode is Mode.STRICT)
    given = {name: value for name, value in overrides.items() if value is not None}
    configuration = msgspec.structs.replace(configuration, **given)
    _check(configuration)
    return configuration


def run_request(configuration: Configuration, seed: int, name: str | None) -> RunRequest:
    """The training run of one seed."""
    return RunRequest(
        experiment=configuration.experiment,
        data=None if configuration.data_dir is None else Path(configuration.data_dir),
        symbols=configuration.symbols,
        targets=configuration.targets,
        features=configuration.features,
        families=configuration.families,
        results=Path(configuration.output_dir),
        run_name=name,
        seed=seed,
        mode=configuration.mode,
        profile=configuration.profile,
        image=configuration.image,
        quick=configuration.quick,
        workers=configuration.workers,
        time_limit=configuration.time_limit,
        memory=_bytes(configuration.memory),
    )


def exec_request(configuration: Configuration) -> ExecRequest:
    """The run of a program of the user's."""
    return ExecRequest(
        argv=configuration.program or (),
        image=configuration.image,
        data=None if configuration.data_dir is None else Path(configuration.data_dir),
        results=Path(configuration.output_dir),
        run_name=configuration.name,
        seed=configuration.seeds[0],
        mode=configuration.mode,
        profile=configuration.profile,
        time_limit=configuration.time_limit,
        memory=_bytes(configuration.memory),
    )


def _bytes(mebibytes: int | None) -> int | None:
    return None if mebibytes is None else mebibytes << 20


def _check(configuration: Configuration) -> None:
    seeds = configuration.seeds
    if not seeds:
        raise UsageError("There is no seed to train with", hint="Give one with --seed, or leave `seed` out for 42.")
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise UsageError(
                f"The seed {seed} is given twice", hint="The same member twice would only count double: give it once."
            )
        if seed < 0:
            raise UsageError(f"The seed is {seed}", hint="A seed is 0 or above.")
    if configuration.time_limit is not None and not configuration.time_limit > 0:
        raise UsageError(f"time_limit is {configuration.time_limit:g}", hint="It is in seconds, above 0.")
    if configuration.program is None:
        return
    if not configuration.program:
        raise UsageError("program is empty", hint="Write it as a list: [python, train.py, --epochs, '3'].")
    if len(seeds) > 1:
        raise UsageError(
            f"program goes with one seed, and there are {len(seeds)}",
            hint="An ensemble averages the predictions of an experiment: what a program's files mean is not known.",
        )
    unset = Configuration()
    for key in (*_ONLY_EXPERIMENTS, "experiment"):
        if getattr(configuration, key) != getattr(unset, key):
            raise UsageError(f"{key} does not go with program", hint="It is for experiments: leave one of the two out.")
