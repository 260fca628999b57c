"""The image that remote nodes get: an environment with a project in it, started as `harness exec` starts a program."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.engines.launch import OUTPUT, launch_command, process_environment
from harness.errors import UsageError
from harness.images.build import Image, open_image
from harness.images.code import code_image
from harness.locking.imagespec import load_image_spec
from harness.locking.python import read_python_lock
from harness.runs.git import shown_files, tracked_files
from harness.runs.inputs import PROJECT, code_mount, mount_tree, project_tree
from harness.runs.secretfiles import secret_files
from harness.spec.experiment import Reproducibility
from harness.spec.reproducibility import BASE_SEED
from harness.spec.run import Mode, Mount, Profile, Resources, RunSpec
from harness.spec.variables import run_variables
from harness.store.progress import Progress
from harness.store.store import Store
from harness.store.trees import FolderEntry, list_tree

_FOLDER = "harness"
_HOME = "/tmp"  # noqa: S108 - the container's own
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RESULTS = Path("RESULTS")


@contextmanager
def open_chosen(name: str, project: Path | None, *, root: Path, store: Store, progress: Progress) -> Iterator[Image]:
    """The image `name`, and where a project is given, that image with the project in it.

    Raises:
        UsageError: there is no such image or project, or the project holds what looks like a secret and is not tracked.
        HarnessError: as `open_image`.
    """
    with open_image(name, root=root, store=store, progress=progress) as image:
        yield image if project is None else self_contained(image, project, root=root, store=store)


def self_contained(environment: Image, project: Path, *, root: Path, store: Store) -> Image:
    """`environment` with the project as `harness exec` would copy it, and the rooms that run inside.

    The variables are those of a strict run with the profile `native`, one thread and the default seed, so that they do
    not depend on who builds, nor on which machine; `docker run -e` overrides them.

    Raises:
        UsageError: the project is no folder, or holds what looks like a secret and is not tracked.
    """
    code = mount_tree(store, PROJECT, project_tree(store, project, results=_RESULTS))
    _refuse_secrets(project, Path(code.source))
    trees = (code_mount(store), code)
    spec = _spec(environment.lock.name, trees, root)
    locations = {name: f"/{_FOLDER}/{name}" for name in (*(tree.name for tree in trees), OUTPUT)}
    return code_image(
        environment,
        trees,
        folder=_FOLDER,
        empty={OUTPUT: 0o1777},
        environment=process_environment(spec, locations=locations, path=_PATH, home=_HOME),
        entrypoint=("python3", *launch_command(spec)[1 : -len(spec.argv)]),  # as it is in what was pushed before
        working_directory=locations[PROJECT],
        store=store,
    )


def _spec(name: str, trees: tuple[Mount, ...], root: Path) -> RunSpec:
    """The run that the image stands ready for; what it runs is named when it is started."""
    spec = load_image_spec(root, name)
    wheels = read_python_lock(root / "lockfiles" / spec.name / "python.txt").wheels
    variables = run_variables(
        mode=Mode.STRICT.value,
        profile=Profile.NATIVE.value,
        variant=spec.variant,
        seed=BASE_SEED,
        version=Reproducibility().version,
        cores=1,
        libraries={wheel.name: wheel.version for wheel in wheels},
    )
    return RunSpec(
        run_id="self-contained",
        image=None,
        argv=("python3",),
        environment=variables,
        mounts=trees,
        output=f"/{_FOLDER}/{OUTPUT}",
        resources=Resources(cpus=(0,)),
        randomize_addresses=False,
    )


def _refuse_secrets(project: Path, copied: Path) -> None:
    """Refuse to give away files that are usually secret and here by oversight: neither tracked nor ignored by git."""
    top, tracked = project.resolve(), tracked_files(project)
    files = [path for path, entry in list_tree(copied).items() if not isinstance(entry, FolderEntry)]
    if found := secret_files(copied, [path for path in files if top / path not in tracked]):
        raise UsageError(
            f"In {project}: {shown_files(found)} would be in the image, for everybody who can pull it",
            hint="Name what is secret in .gitignore (`git init` first where there is no git), or move it away; "
            "`git add` what is none.",
        )
