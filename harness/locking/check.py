"""Whether the locks still fit what they were made from: offline, and in a moment."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from harness.locking.datasets import read_datasets_lock
from harness.locking.debian import DebianLock, read_debian_lock, waiver_problems
from harness.locking.imagelock import BUILDER_FORMAT, ImageLock
from harness.locking.imagelock import SCHEMA as IMAGE_SCHEMA
from harness.locking.imagespec import (
    ImageSpec,
    debian_inputs,
    image_names,
    load_image_spec,
    python_inputs,
    spec_digest,
)
from harness.locking.lockfile import read_lock
from harness.locking.needs import missing_packages, unmet_requirements
from harness.locking.python import read_python_lock
from harness.record.hashing import digest_of_file, signature
from harness.spec.digest import Digest
from harness.spec.variables import image_variables
from harness.store.store import Store

Variables = Callable[[str], Mapping[str, str]]


class Problem(msgspec.Struct, frozen=True):
    """A lock that no longer matches: its path below the checkout, what is wrong, and the command that mends it."""

    lock: str
    message: str
    remedy: str


def check(
    root: Path,
    names: Iterable[str] | None = None,
    *,
    variables: Variables = image_variables,
    store: Store | None = None,
) -> list[Problem]:
    """What is out of date: of the images `names`, or of every image, the datasets and the harness's own environments.

    With a store, the maintainer scripts of the Debian packages that it holds are read again; nothing is fetched.

    Raises:
        UsageError: a spec is missing or makes no sense.
        IntegrityError: a lock is not valid.
    """
    if names is not None:
        return [problem for name in names for problem in _check_image(root, name, variables, store)]
    problems = _check_requirements(root)
    datasets = root / "lockfiles" / "datasets.lock"
    if datasets.exists():
        read_datasets_lock(datasets)
    return problems + [problem for name in image_names(root) for problem in _check_image(root, name, variables, store)]


def input_digests(root: Path, spec: ImageSpec, *, variables: Variables = image_variables) -> dict[str, Digest]:
    """The digest of every input of an image, by name: spec, `debian.lock`, `python.txt` and the variant's variables.

    Raises:
        OSError: a lock is not there.
    """
    folder = root / "lockfiles" / spec.name
    return {
        "spec": spec_digest(spec),
        "debian.lock": digest_of_file(folder / "debian.lock"),
        "python.txt": digest_of_file(folder / "python.txt"),
        "variables": signature(dict(variables(spec.variant))),
    }


def _check_requirements(root: Path) -> list[Problem]:
    from harness.locking.requirements import inputs_of, read_requirements, requirement_sets  # an index's client

    problems = []
    for wanted in requirement_sets(root):
        path = root / "lockfiles" / wanted.filename
        bound = root / "lockfiles" / wanted.bound_by if wanted.bound_by else None
        if not path.exists():
            problems.append(_missing(root, path, "harness lock"))
        elif bound is not None and not bound.exists():
            problems.append(
                Problem(_shown(root, path), f"is bound by {bound.name}, which is not there", "harness lock")
            )
        elif read_requirements(path)[0] != inputs_of(root, wanted):
            origin = f"pyproject.toml or {wanted.bound_by}" if wanted.bound_by else "pyproject.toml"
            problems.append(Problem(_shown(root, path), f"was made from another {origin}", "harness lock"))
    return problems


def _check_image(root: Path, name: str, variables: Variables, store: Store | None) -> list[Problem]:
    spec = load_image_spec(root, name)
    folder, remedy = root / "lockfiles" / name, f"harness lock {name}"
    debian, python, image = folder / "debian.lock", folder / "python.txt", folder / "image.lock"
    problems = [_missing(root, path, remedy) for path in (debian, python) if not path.exists()]
    if debian.exists():
        problems += _check_debian(root, spec, debian, store)
    if python.exists():
        problems += _check_python(root, spec, python)
    if problems:
        return problems  # the image's own lock can't fit either
    remedy = f"harness build {name} --update"
    if not image.exists():
        return [_missing(root, image, remedy)]
    locked, actual = read_lock(image, ImageLock, schema=IMAGE_SCHEMA), input_digests(root, spec, variables=variables)
    recorded = locked.inputs
    changed = sorted(key for key in recorded | actual if recorded.get(key) != actual.get(key))
    if locked.builder != BUILDER_FORMAT:
        changed.append("format of the builder")
    if changed:
        message = f"was made from another {', '.join(changed)}"
        return [Problem(_shown(root, image), message, remedy)]
    return []


def _check_debian(root: Path, spec: ImageSpec, path: Path, store: Store | None) -> list[Problem]:
    lock, shown, remedy = read_debian_lock(path), _shown(root, path), f"harness lock {spec.name}"
    problems = []
    if lock.inputs != signature(debian_inputs(spec)):
        problems.append(Problem(shown, f"was made from other packages than {_spec(spec)}", remedy))
    elif missing := missing_packages(spec, lock):
        return [Problem(shown, f"lacks {package}, which {_spec(spec)} names", remedy) for package in missing]
    problems += [
        Problem(shown, f"does not fit {_spec(spec)}: {problem}", f"correct {_spec(spec)}")
        for problem in waiver_problems(spec, lock)
    ]
    if store is not None and not problems and (other := _misread(lock, store)):
        message = f"describes {other} otherwise than it is read: it was edited by hand, or made by another version"
        problems.append(Problem(shown, message, remedy))
    return problems


def _check_python(root: Path, spec: ImageSpec, path: Path) -> list[Problem]:
    lock, shown, remedy = read_python_lock(path), _shown(root, path), f"harness lock {spec.name}"
    if lock.inputs != signature(python_inputs(spec)):
        return [Problem(shown, f"was made from other requirements than {_spec(spec)}", remedy)]
    return [
        Problem(shown, f"does not meet {requirement}, which {_spec(spec)} asks for", remedy)
        for requirement in unmet_requirements(spec, lock)
    ]


def _misread(lock: DebianLock, store: Store) -> str | None:
    """The first script that the lock describes otherwise than it is read."""
    from harness.locking.rereading import other_scripts, read_again, stored  # a shell's parser, and archives'

    return next(iter(other_scripts(lock, read_again(lock, stored(store)))), None)


def _missing(root: Path, path: Path, remedy: str) -> Problem:
    return Problem(_shown(root, path), "is not there", remedy)


def _shown(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _spec(spec: ImageSpec) -> str:
    return f"docker/{spec.name}.yaml"
