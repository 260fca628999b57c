"""`harness run`: train an experiment and say whether its bits repeated; `harness host-environment`: its Python."""

import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.console import ConsoleProgress, stdout
from harness.cli.options import ResumeBeforeOption, ResumeOption, ResumeRunOption, open_store, split
from harness.cli.tables import run_report
from harness.engines.host import ensure_environment
from harness.errors import ExitCode, UsageError, worst
from harness.runs.environment import require_machine
from harness.runs.opening import EngineName, open_engine
from harness.runs.project import find_root
from harness.runs.request import RunRequest
from harness.runs.resume import Resume
from harness.runs.train import train
from harness.spec.run import Mode, Profile


def run(
    experiment_config: Annotated[
        str, typer.Option(help="An experiment: a path, or a name looked up in ./experiments and in the package.")
    ] = "determinism_test",
    data_dir: Annotated[
        Path | None, typer.Option(help="A panel file, or a folder with exactly one, instead of the experiment's data.")
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Symbols to train on, separated by commas.")] = None,
    targets: Annotated[str | None, typer.Option(help="Targets, such as fwd_ret_10d,fwd_up_10d.")] = None,
    features: Annotated[str | None, typer.Option(help="Features, in this order.")] = None,
    families: Annotated[str | None, typer.Option(help="Model families of the experiment to train.")] = None,
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("RESULTS"),
    run_name: Annotated[
        str | None, typer.Option(help="The run's name; made from experiment and time if left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Base seed; beats REPRO_SEED and the experiment.")] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="strict repeats to the bit; best_effort seeds, and turns cuDNN's autotuning on."),
    ] = None,
    profile: Annotated[
        Profile, typer.Option(help="native: fastest on this CPU; x86-64-v3: capped to what all such CPUs share.")
    ] = Profile.NATIVE,
    image: Annotated[str, typer.Option(help="The image to run in: a name under docker/.")] = "cpu",
    engine: Annotated[EngineName, typer.Option(help="docker isolates the run; host does not.")] = EngineName.DOCKER,
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="The experiment's quick variant, or all of it.")
    ] = False,
    runs: Annotated[int, typer.Option(min=1, help="How many times; 2 shows at once whether bits repeat.")] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Fits side by side (default: one a core). Changes no bit.")
    ] = None,
    memory: Annotated[int | None, typer.Option(min=1, help="Memory limit in MiB.")] = None,
    time_limit: Annotated[float | None, typer.Option(min=0.1, help="Time limit in seconds.")] = None,
    plugins: Annotated[Path | None, typer.Option(help="A folder of Python modules with families of your own.")] = None,
    hostname: Annotated[str, typer.Option(help="The host name that the container sees.")] = "harness",
    aslr: Annotated[
        bool, typer.Option("--aslr/--no-aslr", help="Randomise addresses, as systems do, or fix them.")
    ] = True,
    require_clean: Annotated[
        bool,
        typer.Option(
            "--require-clean", help="Refuse to run unless the checkout is exactly one commit (production runs)."
        ),
    ] = False,
    resume: ResumeOption = False,
    resume_run: ResumeRunOption = None,
    resume_before: ResumeBeforeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a run on stdout.")] = False,
) -> int:
    """Train an experiment in a digest-pinned image and compare its fingerprints with earlier runs.

    Examples:
      harness run                                      the default experiment, on real data

      harness run --runs 2                             twice: every cell should be identical

      harness run --quick --symbols AAPL,JPM,XOM       a few seconds

      harness run --experiment-config mine.yaml --data-dir prices.parquet --seed 7

      harness run --experiment-config mine.yaml --resume    goes on where the same command was killed

    Exit codes: 0 identical or unverified, 1 divergent, 2 trouble, 3 incomparable, 4 integrity failure.
    """
    if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", hostname) is None:
        raise UsageError(f"{hostname!r} is not a host name", hint="Use lower-case letters, digits and hyphens.")
    request = RunRequest(
        experiment=experiment_config,
        data=data_dir,
        symbols=split(symbols),
        targets=split(targets),
        features=split(features),
        families=split(families),
        results=output_dir,
        run_name=run_name,
        seed=seed,
        mode=mode,
        profile=profile,
        image=image,
        quick=quick,
        workers=workers,
        time_limit=time_limit,
        memory=None if memory is None else memory << 20,
        plugins=plugins,
        randomize_addresses=aslr,
        hostname=hostname,
        require_clean=require_clean,
        resume=Resume.asked(resume=resume, run=resume_run, before=resume_before),
    )
    root = find_root(Path.cwd())
    if engine is EngineName.DOCKER:
        require_machine(image, root)
    store = open_store()
    codes: list[ExitCode] = []
    for number in range(1, runs + 1):
        if run_name is not None and runs > 1:
            request = msgspec.structs.replace(request, run_name=f"{run_name}-{number}")
        with ConsoleProgress() as progress:
            opened = open_engine(engine, root, store, progress)
            report = train(request, root=root, store=store, engine=opened, progress=progress)
        if as_json:
            stdout.file.write(msgspec.json.encode(report).decode() + "\n")
        else:
            run_report(report)
        codes.append(report.exit_code)
    return worst(codes)


def host_environment() -> int:
    """Make the host engine's Python environment from the CPU image's lock if need be, and print its interpreter."""
    root = find_root(Path.cwd())
    with ConsoleProgress() as progress:
        interpreter = ensure_environment(root, open_store(), progress)
    stdout.file.write(f"{interpreter}\n")
    return ExitCode.OK
