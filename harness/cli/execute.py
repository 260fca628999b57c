"""`harness exec`: any program, strictly; stdout and the exit code are the program's alone."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.console import ConsoleProgress
from harness.cli.options import ResumeBeforeOption, ResumeOption, ResumeRunOption, open_store
from harness.runs.environment import require_machine
from harness.runs.execute import ExecRequest, execute_program
from harness.runs.opening import EngineName, open_engine
from harness.runs.project import find_root
from harness.runs.resume import Resume
from harness.spec.run import Mode, Profile


def execute(
    program: Annotated[list[str], typer.Argument(metavar="-- PROGRAM [ARGUMENT]...", help="What to run, after --.")],
    engine: Annotated[EngineName, typer.Option(help="docker isolates the run; host does not.")] = EngineName.DOCKER,
    image: Annotated[str, typer.Option(help="The image to run in: a name under docker/.")] = "cpu",
    data: Annotated[Path | None, typer.Option(help="A folder to read, as $HARNESS_DATA in the run.")] = None,
    project: Annotated[Path, typer.Option(help="The folder whose copy is the working folder.")] = Path(),
    output_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("RESULTS"),
    run_name: Annotated[str | None, typer.Option(help="The run's name; made from the time if left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Base seed; beats REPRO_SEED.")] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(help="strict repeats to the bit; best_effort seeds, and turns cuDNN's autotuning on."),
    ] = None,
    profile: Annotated[Profile, typer.Option(help="native, or x86-64-v3.")] = Profile.NATIVE,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of one reduction; at most the cores, and bits may depend on them.")
    ] = 1,
    time_limit: Annotated[float | None, typer.Option(min=0.1, help="Time limit in seconds.")] = None,
    memory: Annotated[int | None, typer.Option(min=1, help="Memory limit in MiB.")] = None,
    require_clean: Annotated[
        bool,
        typer.Option(
            "--require-clean", help="Refuse to run unless the project is exactly one commit (production runs)."
        ),
    ] = False,
    resume: ResumeOption = False,
    resume_run: ResumeRunOption = None,
    resume_before: ResumeBeforeOption = None,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="Say what the run touched beyond its inputs: files, clock, random bits, sockets, programs."
        ),
    ] = False,
    randomize_addresses: Annotated[
        bool,
        typer.Option("--randomize-addresses", help="Other addresses in each run; strict runs have the same otherwise."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")] = False,
) -> int:
    """Run a program of yours strictly, on a copy of your project, and keep what it wrote with its digests.

    Examples:
      harness exec -- python train.py --epochs 3

      harness exec --data prices/ -- python train.py       reads os.environ["HARNESS_DATA"]

      harness exec --engine host -- python -m my_project.train

      harness exec --resume -- python train.py             goes on where the same command was killed
    """
    request = ExecRequest(
        argv=tuple(program),
        image=image,
        data=data,
        project=project,
        results=output_dir,
        run_name=run_name,
        seed=seed,
        mode=mode,
        profile=profile,
        threads=threads,
        time_limit=time_limit,
        memory=None if memory is None else memory << 20,
        require_clean=require_clean,
        audit=audit,
        randomize_addresses=randomize_addresses,
        resume=Resume.asked(resume=resume, run=resume_run, before=resume_before),
    )
    root = find_root(Path.cwd())
    if engine is EngineName.DOCKER:
        require_machine(image, root)
    store = open_store()
    with ConsoleProgress(quiet=quiet) as progress:
        return execute_program(
            request, root=root, store=store, engine=open_engine(engine, root, store, progress), progress=progress
        )
