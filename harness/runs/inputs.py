"""A run's inputs: copied into the store first, so that a tree that changes under a running job changes nothing."""

from pathlib import Path

import msgspec

import harness
from harness.errors import UsageError
from harness.locking.datasets import fetch_dataset, find_dataset
from harness.record.layout import HISTORY, runs_folder
from harness.runs.git import project_files
from harness.spec.digest import Digest
from harness.spec.experiment import Data
from harness.spec.run import Mount
from harness.spec.task import TrainingTask
from harness.store.progress import Progress
from harness.store.store import Store
from harness.store.trees import checkout_tree, put_tree, put_tree_from_files

CODE = "code"
PLUGINS = "plugins"
PROJECT = "project"
PANEL_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_NEVER_COPIED = frozenset({".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".nox", ".tox"})
_INSIDE = ("__init__.py", "errors.py", "configs", "record", "spec", "strict", "training")


def code_mount(store: Store) -> Mount:
    """The rooms that run inside, as they are in this checkout now."""
    package = Path(harness.__file__).parent

    def wanted(path: str) -> bool:
        parts = path.split("/")
        return parts[0] == package.name and (len(parts) == 1 or parts[1] in _INSIDE) and "__pycache__" not in parts

    return mount_tree(store, CODE, put_tree(store, package.parent, include=wanted))


def panel_mount(store: Store, data: Data, *, root: Path, progress: Progress) -> tuple[Mount, str]:
    """The panel that an experiment trains on, and its file's name under the mount.

    Raises:
        UsageError: the path is not a panel file, nor a folder with exactly one.
        PrerequisiteError: the dataset cannot be fetched from anywhere.
    """
    if data.dataset is not None:
        dataset = find_dataset(root / "lockfiles" / "datasets.lock", data.dataset)
        panel = fetch_dataset(store, dataset, progress=progress)
        name = Path(dataset.member).name
        return mount_tree(store, "data", put_tree_from_files(store, {name: panel.read_bytes()})), name
    panel = _panel_file(Path(data.path or ""))
    return folder_mount(store, panel.parent, name="data", only=panel.name), panel.name


def folder_mount(store: Store, folder: Path, *, name: str, only: str | None = None) -> Mount:
    """A folder (or the one file of it that `only` names) as a read-only input called `name`."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", hint=f"Give --{name} an existing folder.")
    return mount_tree(store, name, put_tree(store, folder, include=lambda path: only is None or path == only))


def project_tree(store: Store, project: Path, *, results: Path) -> Digest:
    """A program's folder as it is now: what git tracks or would track; without git all but environments and results.

    Raises:
        UsageError: it is no folder, or one that holds far more than a project.
    """
    folder = project.absolute()
    if not folder.is_dir():
        raise UsageError(f"{project} is not a folder", hint="Give --project the folder of your program.")
    if folder.resolve() in (Path("/"), Path.home().resolve()):
        raise UsageError(
            f"{folder} is no project: all of it would be copied",
            hint="Stand in the folder of your program, or name it with --project.",
        )
    files = project_files(folder)
    parents = {str(parent) for name in files or () for parent in Path(name).parents}

    def wanted(path: str) -> bool:
        if Path(path).name in _NEVER_COPIED or _holds_results(folder / path, results):
            return False
        return files is None or path in files or path in parents

    return put_tree(store, folder, include=wanted)


def _holds_results(path: Path, results: Path) -> bool:
    """Whether runs are kept here: this one's, or those of another `--output-dir`."""
    if path.name == results.name and path.resolve() == results.resolve():
        return True
    return (path / HISTORY).is_file() and runs_folder(path).is_dir()


def task_mount(store: Store, task: TrainingTask) -> Mount:
    """The document that tells the trainer what to do."""
    return mount_tree(store, "task", put_tree_from_files(store, {"task.json": msgspec.json.encode(task)}))


def mount_tree(store: Store, name: str, digest: Digest) -> Mount:
    """A folder of the store as a read-only input, checked now.

    Raises:
        HarnessError: the store does not hold it, or it is altered.
    """
    return Mount(name=name, source=str(checkout_tree(store, digest)), digest=digest)


def _panel_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(
            f"There is no data at {path}", hint="--data-dir wants a panel file, or a folder with exactly one."
        )
    panels = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.name.endswith(PANEL_SUFFIXES))
    if len(panels) != 1:
        found = ", ".join(entry.name for entry in panels) or "none"
        raise UsageError(
            f"{path} should hold exactly one panel ({', '.join(PANEL_SUFFIXES)}), and holds {found}",
            hint="Name the file itself: --data-dir FOLDER/FILE.",
        )
    return panels[0]
