"""The first spec and locks of a user's project: from what it asks for to files, all of them or none."""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from harness.errors import IntegrityError, ToolError, UsageError
from harness.locking.architecture import target_tags
from harness.locking.debian import read_debian_lock
from harness.locking.difference import LockChange
from harness.locking.imagespec import spec_path
from harness.locking.lock import lock, locked_versions
from harness.locking.project import Project, check_interpreter, check_python
from harness.locking.python import PythonLock, read_python_lock
from harness.locking.template import render_spec, template
from harness.store.index import resolve
from harness.store.progress import Progress
from harness.store.sources import link_folders, uv_environment
from harness.store.store import Store

TRAINER = ("msgspec", "numpy", "pyarrow", "pyyaml", "rfc8785", "scipy", "threadpoolctl")
"""What the built-in trainer (`harness run`) needs beside the model libraries."""
_TORCH = ("torch", "torchvision", "torchaudio")
"""Libraries whose wheels come in builds with CUDA and without, told apart by their local version alone."""
_CPU = "cpu"
_LOCKS = ("debian.lock", "python.txt")
_FOLDER = "/harness/output/project"
"""Where a program finds the copy of its project (`harness exec`)."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asked for beside the project's own requirements."""

    name: str
    variant: str = _CPU
    apt: tuple[str, ...] = ()
    waive: dict[str, str] = {}
    base: str | None = None
    trainer: bool = False


class Initial(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a new image by their path below the project, and what came of the project's requirements.

    `changes` are against the locks that are there; without any there are none.
    """

    files: dict[str, bytes]
    requirements: tuple[str, ...]
    wheels: int
    packages: int
    notes: tuple[str, ...]
    changes: tuple[LockChange, ...]


def prepare(
    project: Project,
    wanted: Wanted,
    store: Store,
    *,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
    reviewed: Collection[str] = (),
    announce: Callable[[tuple[LockChange, ...]], None] | None = None,
) -> Initial:
    """The spec and locks of an image for a project. Nothing is written but to the store.

    Where the project has locks of that image already, what they hold stays where it still fits, `announce` is told what
    changes, and packages whose waived scripts changed must be among `reviewed`: all as `lock` does it.

    Raises:
        UsageError: the project asks for nothing, for another Python, or for what cannot be had; or a maintainer script
            is neither known nor waived, or is waived and changed.
        ToolError: uv cannot resolve the requirements; its reason is in the message.
        IntegrityError: a wheel is not among those whose hashes the project gives.
    """
    version = template().python.version
    check_python(project, version)
    asked = (*project.requirements, *(TRAINER if wanted.trainer else ()))
    if not asked:
        raise UsageError(
            f"{project.file} asks for no package, and an image holds at least one",
            hint="Add what the program imports to it, or name an extra or group (--extra, --group).",
        )
    with progress.task(f"Resolving {project.file}"):
        versions = _versions(project, asked, wanted, environment)
    requirements, notes = _settled(asked, project.constraints, versions, wanted.variant)
    text = render_spec(
        name=wanted.name,
        title=f"The image of {_printable(project.name)}: what {_printable(project.file)} asks for. "
        "Written by `harness init`; yours to edit.",
        variant=wanted.variant,
        requirements=requirements,
        apt=wanted.apt,
        waive=wanted.waive,
        files=_importable(project, version),
        base=wanted.base,
    )
    with tempfile.TemporaryDirectory(prefix="harness-init-") as temporary:
        root = Path(temporary)
        locks = Path("lockfiles") / wanted.name
        replacing = _copy_locks(project.folder / locks, root / locks)
        spec_path(root, wanted.name).parent.mkdir()
        spec_path(root, wanted.name).write_text(text, "utf-8")
        try:
            done = lock(
                root,
                wanted.name,
                store,
                progress=progress,
                environment=environment,
                reviewed=reviewed,
                announce=announce if replacing else None,
            )
        except ToolError as error:
            raise _explained(error, project, version) from error
        except UsageError as error:
            raise _advised(error) from error
        python = read_python_lock(root / locks / "python.txt")
        debian = read_debian_lock(root / locks / "debian.lock")
        for package in debian.packages:
            if package.name == f"python{version}":
                check_interpreter(project, package.name, package.version)
        files = {str(locks / name): (root / locks / name).read_bytes() for name in _LOCKS}
        files[f"docker/{wanted.name}.yaml"] = text.encode()
    _check_hashes(project, python)
    return Initial(
        files=files,
        requirements=requirements,
        wheels=len(python.wheels),
        packages=len(debian.packages),
        notes=(*project.notes, *notes, *_idle(python, wanted)),
        changes=done.changes if replacing else (),
    )


def _printable(name: str) -> str:
    """What a folder or file is called, for a comment: such a name may hold a line's end."""
    return name if name.isprintable() else ascii(name)


def check_free(root: Path, name: str, *, force: bool) -> None:
    """Nothing, if an image may be written under a project.

    Raises:
        UsageError: one of that name is there, and `force` is false.
    """
    there = [path for path in _places(name) if (root / path).exists() or (root / path).is_symlink()]
    if there and not force:
        raise UsageError(
            f"{root / there[0]} is there already",
            hint="Give the image another name (harness init NAME), or replace it with --force; see --dry-run first.",
        )


def _copy_locks(there: Path, folder: Path) -> bool:
    """Copy the locks that are to be replaced to where `lock` finds them; whether there are any."""
    folder.mkdir(parents=True)
    found = [there / name for name in _LOCKS if (there / name).is_file()]
    for path in found:
        shutil.copyfile(path, folder / path.name)
    return bool(found)


def _places(name: str) -> tuple[str, ...]:
    return (f"docker/{name}.yaml", *(f"lockfiles/{name}/{lock}" for lock in _LOCKS))


def _locked(project: Project, name: str) -> dict[str, str]:
    """The versions that are to stay; none where the lock is damaged, which `lock` says."""
    try:
        return locked_versions(project.folder, name)
    except IntegrityError:
        return {}


def _versions(project: Project, asked: Sequence[str], wanted: Wanted, environment: Mapping[str, str]) -> dict[str, str]:
    """The versions that the requirements resolve to under the project's constraints."""
    python, kept = template().python, _locked(project, wanted.name)
    arguments = ["--python-version", python.version, "--python-platform", python.platform, "--only-binary", ":all:"]
    variables = uv_environment(environment)

    def attempt(more: Sequence[str], *options: str) -> dict[str, str]:
        text = "".join(f"{requirement}\n" for requirement in (*asked, *more))
        packages = resolve([*arguments, *options], text, variables, kept=kept)
        return {canonicalize_name(package["name"]): package["version"] for package in packages}

    with tempfile.TemporaryDirectory() as folder:
        if project.constraints:
            path = Path(folder) / "constraints.txt"
            path.write_text("".join(f"{constraint}\n" for constraint in project.constraints))
            arguments += ["--constraint", str(path)]
        try:
            try:
                versions = attempt(())
            except ToolError:
                if not any("+cpu" in requirement for requirement in asked):
                    raise
                return attempt((), "--torch-backend", "cpu")
            builds = [name for name in _TORCH if name in versions and "+" not in versions[name]]
            if wanted.variant != _CPU or not builds:
                return versions
            # PyTorch has its builds without CUDA on an index of its own, which uv knows by this name; or they lie here.
            pins = _local_builds(builds, [*map(Requirement, asked), *project.constraints], kept, environment)
            return attempt(pins) if pins else attempt((), "--torch-backend", "cpu")
        except ToolError as error:
            raise _explained(error, project, python.version) from error


def _local_builds(
    names: Sequence[str], asked: Sequence[Requirement], kept: Mapping[str, str], environment: Mapping[str, str]
) -> list[str]:
    """The builds without CUDA that local folders have of some packages and that fit what is asked, as pins.

    Of each that of the version `kept`, else the newest.
    """
    python, pins = template().python, []
    tags = frozenset(target_tags(python.version, python.platform))
    for name in names:
        found = []
        for path in (path for folder in link_folders(environment) for path in folder.glob("*.whl")):
            with suppress(InvalidWheelFilename):
                distribution, version, _, fitting = parse_wheel_filename(path.name)
                if distribution == name and version.local == _CPU and not tags.isdisjoint(fitting):
                    found.append(version)
        for requirement in asked:
            if canonicalize_name(requirement.name) == name:
                found = [version for version in found if requirement.specifier.contains(version, prereleases=True)]
        best = max(found, key=lambda version: (str(version) == kept.get(name), version), default=None)
        pins += [f"{name}=={best}"] if best else []
    return pins


def _settled(
    asked: Sequence[str], constraints: Sequence[Requirement], versions: Mapping[str, str], variant: str
) -> tuple[tuple[str, ...], list[str]]:
    """The requirements that a spec gets: constraints on what is needed among them, and CPU builds where they matter."""
    found = [*asked, *(str(one) for one in constraints if canonicalize_name(one.name) in versions)]
    if variant != _CPU:
        return tuple(dict.fromkeys(found)), []
    notes = []
    for name in _TORCH:
        if name in versions:
            pin = f"{name}=={versions[name].partition('+')[0]}+cpu"
            mine = [text for text in found if canonicalize_name(Requirement(text).name) == name]
            found = [*(text for text in found if text not in mine), pin]
            if mine != [pin]:
                said = ", ".join(mine) or f"{name}, which another package asks for,"
                notes.append(f"{said} is locked as {pin}, the build without CUDA (--variant cuda takes the other)")
    return tuple(dict.fromkeys(found)), notes


def _importable(project: Project, version: str) -> dict[str, str]:
    """A file that has the project's own packages found wherever a program lies, as an installation in place does.

    https://docs.python.org/3/library/site.html: a path that does not exist is passed over.
    """
    if not project.roots:
        return {}
    lines = [_FOLDER if root == "." else f"{_FOLDER}/{root}" for root in project.roots]
    return {f"/usr/local/lib/python{version}/dist-packages/project.pth": "\n".join(lines) + "\n"}


def _check_hashes(project: Project, python: PythonLock) -> None:
    for wheel in python.wheels:
        allowed = project.hashes.get(wheel.name)
        if allowed is not None and wheel.digest not in allowed:
            raise IntegrityError(
                f"{project.file} gives hashes for {wheel.name}, and {wheel.filename} ({wheel.digest}) has none of them",
                hint="The index has another file, or the hashes are those of a source archive: only wheels are taken.",
            )


def _idle(python: PythonLock, wanted: Wanted) -> list[str]:
    """What a CPU image has no use for."""
    found = [wheel.name for wheel in python.wheels if wheel.name.startswith("nvidia-")]
    if wanted.variant != _CPU or not found:
        return []
    return [
        f"{', '.join(found)}: nothing on a CPU uses this. Ask for a build without it (xgboost-cpu), or leave it out "
        f"under python.without in docker/{wanted.name}.yaml, and lock again"
    ]


def _explained(error: ToolError, project: Project, version: str) -> ToolError:
    """The reason that uv gives, without its marks and the command's path."""
    reason = error.message.partition(": ")[2] if "failed with exit code" in error.message else error.message
    words = " ".join(reason.replace("\N{MULTIPLICATION SIGN}", " ").replace("╰─▶", " ").replace("│", " ").split())
    hint = "Correct the requirements; `harness init` then begins anew, and nothing was written."
    if "no wheels" in words or "no usable wheels" in words or "usable wheel" in words:
        hint = (
            "Only wheels go into an image. Build the missing one where you can trust it (`pip wheel --no-deps PACKAGE "
            "--wheel-dir wheels`), then set UV_FIND_LINKS=wheels here and whenever you lock or build."
        )
    elif "+cpu" in words:
        hint = (
            "PyTorch keeps its builds without CUDA on an index of its own: name that in UV_INDEX, or a folder that "
            "holds the wheel in UV_FIND_LINKS, or take the build with CUDA: --variant cuda."
        )
    elif "error sending request" in words:
        hint = "No index answers: check the network, or the index that pip or uv is configured with."
    return ToolError(f"{project.file} cannot be resolved for Python {version} on Linux: {words}", hint=hint)


def _advised(error: UsageError) -> UsageError:
    if "is not waived" not in error.message:
        return error
    return UsageError(
        error.message.partition(": ")[2] or error.message,
        hint="No maintainer script is run. Read it (`apt-get download PACKAGE`, `dpkg-deb --ctrl-tarfile`); if a run "
        "needs nothing of what it does, say so: --waive 'PACKAGE=REASON'.",
    )
