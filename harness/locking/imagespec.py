"""The image spec, `docker/NAME.yaml`: what goes into an image and how it is configured."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec
from packaging.utils import canonicalize_name, is_normalized_name

from harness.errors import UsageError
from harness.locking.architecture import ARCHITECTURES, machine_of
from harness.locking.base import parse_base
from harness.locking.requirementsfile import check_requirement
from harness.record.hashing import signature
from harness.spec.digest import Digest
from harness.spec.documents import load_document

_NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*\Z"
_PACKAGE = r"^[a-z0-9][a-z0-9+.-]+\Z"
_WORD = r"^[a-z0-9][a-z0-9.-]*\Z"

Name = Annotated[str, msgspec.Meta(pattern=_NAME, max_length=40)]
PackageName = Annotated[str, msgspec.Meta(pattern=_PACKAGE, max_length=100)]
Word = Annotated[str, msgspec.Meta(pattern=_WORD, max_length=40)]

_SPEC = re.compile(r"""\A\s*\{|^["']?(?:debian|python)["']?\s*:""", re.MULTILINE)  # JSON is YAML


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the image's `/etc/passwd` and `/etc/group`."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_-]{0,31}\Z")]
    uid: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 2)]
    home: str


class Debian(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Packages by name; the lock holds their closure. `exclude` are globs of paths that a run never reads.

    A glob is matched with `fnmatch` against the whole path in the image, without its first slash; `*` crosses `/`.
    """

    suite: Word
    component: Word
    architecture: Word
    packages: Annotated[tuple[PackageName, ...], msgspec.Meta(min_length=1)]
    exclude: tuple[str, ...] = ()


class Python(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requirements as a user writes them, the interpreter's version (`3.11`), and uv's name for the target platform.

    `exclude` are globs as in `Debian`, against the path below `site-packages`. `without` are packages that others ask
    for and that are left out all the same, each with its reason.
    """

    version: Annotated[str, msgspec.Meta(pattern=r"^3\.[0-9]+\Z")]
    platform: Annotated[str, msgspec.Meta(pattern=r"^(x86_64|aarch64)-manylinux_2_[0-9]+\Z")]
    requirements: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    exclude: tuple[str, ...] = ()
    without: dict[str, str] = {}


class ImageSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One image. `variant` (`cpu` or `cuda`) picks the variables of the image config from the table of variables.

    `links` are symbolic links (absolute path to target), `files` small text files (absolute path to content),
    `postinst` waives, by package, maintainer scripts whose work is declared here or not needed, each with its reason.
    `base` is an image whose layers go under these, by digest (`harness.locking.base`).
    """

    name: Name
    variant: Annotated[str, msgspec.Meta(pattern=r"^(cpu|cuda)\Z")]
    debian: Debian
    python: Python
    users: tuple[User, ...] = ()
    links: dict[str, str] = {}
    files: dict[str, str] = {}
    postinst: dict[str, str] = {}
    large_wheel: Annotated[int, msgspec.Meta(ge=1)] = 5_000_000
    base: str | None = None


def check_image_name(name: str) -> str:
    """`name`, if an image may be called so.

    Raises:
        UsageError: it is no lower-case name, so it could not be that of a file or a repository.
    """
    if re.fullmatch(_NAME, name) is None or len(name) > 40:
        raise UsageError(
            f"{name[:60]!r} is not the name of an image",
            hint="A name is lower-case letters and digits, words joined by a hyphen: the stem of docker/NAME.yaml.",
        )
    return name


def image_names(root: Path) -> tuple[str, ...]:
    """The images that have a spec under `root`, sorted. What else lies in `docker/` (a Compose file) is none."""
    return tuple(sorted(path.stem for path in (root / "docker").glob("*.yaml") if _is_spec(root, path)))


def _is_spec(root: Path, path: Path) -> bool:
    """Whether a file is meant as a spec, right or wrong: it has locks, or one of the two keys that every spec has.

    It is not parsed: documents of others may hold what a spec must not.
    """
    if (root / "lockfiles" / path.stem).is_dir():
        return True
    try:
        return _SPEC.search(path.read_text(errors="replace")) is not None
    except OSError:
        return True  # whoever reads it says why it cannot be read


def spec_path(root: Path, name: str) -> Path:
    """Where the spec of the image `name` lies."""
    return root / "docker" / f"{check_image_name(name)}.yaml"


def load_image_spec(root: Path, name: str) -> ImageSpec:
    """The spec of the image `name` of the checkout `root`.

    Raises:
        UsageError: there is no such spec, or a key in it is unknown, missing, given twice, mistyped or makes no sense.
            The message names file and key.
    """
    path = spec_path(root, name)
    if not path.is_file():
        known = ", ".join(image_names(root)) or "none"
        raise UsageError(f"There is no image spec {path}", hint=f"The images of this checkout: {known}.")
    spec = load_document(path, ImageSpec)
    _check(spec, path)
    return spec


def _check(spec: ImageSpec, path: Path) -> None:
    def refuse(key: str, problem: str) -> None:
        raise UsageError(f"{path}: {key} {problem}")

    if spec.name != path.stem:
        refuse("name", f"is {spec.name!r}, but the file is called {path.name}")
    architecture = ARCHITECTURES.get(spec.debian.architecture)
    if architecture is None:
        known = " or ".join(ARCHITECTURES)
        refuse("debian.architecture", f"is {spec.debian.architecture!r}, and images are made for {known}")
    elif architecture.machine != machine_of(spec.python.platform):
        wanted = f"{architecture.machine}-manylinux_2_N"
        refuse("python.platform", f"is {spec.python.platform!r}, which is not {architecture.name}: write {wanted}")
    for key, items in (
        ("debian.packages", spec.debian.packages),
        ("debian.exclude", spec.debian.exclude),
        ("python.requirements", spec.python.requirements),
        ("python.exclude", spec.python.exclude),
        ("users", tuple(user.name for user in spec.users)),
        ("users", tuple(str(user.uid) for user in spec.users)),
    ):
        if twice := sorted({item for item in items if items.count(item) > 1}):
            refuse(key, f"holds {twice[0]!r} twice")
    for key, paths in (
        ("links", spec.links),
        ("files", spec.files),
        ("users", {user.home: "" for user in spec.users}),
    ):
        for place in paths:
            if not _is_plain_absolute(place):
                refuse(f"{key}.{place!r}", "is not a plain absolute path in the image")
    for place, target in spec.links.items():
        if not _stays_inside(place, target):
            refuse(f"links.{place}", f"leads out of the image: {target!r}")
    if both := sorted(set(spec.links) & set(spec.files)):
        refuse(f"files.{both[0]}", "is also a link")
    for key, reasons in (("postinst", spec.postinst), ("python.without", spec.python.without)):
        for package, reason in reasons.items():
            if not reason.strip():
                refuse(f"{key}.{package}", "gives no reason")
    for text in spec.python.requirements:
        check_requirement(text, f"{path}, python.requirements")
    for package, problem in _misplaced(spec.python):
        refuse(f"python.without.{package}", problem)
    if spec.base is not None:
        try:
            parse_base(spec.base)
        except UsageError as error:
            raise UsageError(f"{path}: {error.message}", hint=error.hint) from error


def _misplaced(python: Python) -> Iterator[tuple[str, str]]:
    """What cannot be left out, and why not."""
    asked = {canonicalize_name(re.split(r"[^A-Za-z0-9._-]", text.strip())[0]) for text in python.requirements}
    for package in python.without:
        if not is_normalized_name(package):
            yield package, f"is not how packages are called: write {canonicalize_name(package)}"
        elif package in asked:
            yield package, "is asked for in python.requirements"


def _is_plain_absolute(path: str) -> bool:
    return (
        path.isprintable()
        and path.startswith("/")
        and path != "/"
        and str(PurePosixPath(path)) == path
        and ".." not in path.split("/")
        and not path.startswith("//")
    )


def _stays_inside(place: str, target: str) -> bool:
    if not target or not target.isprintable():
        return False
    depth = 0 if target.startswith("/") else len(PurePosixPath(place).parent.parts) - 1
    for part in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return False
    return True


def debian_inputs(spec: ImageSpec) -> dict[str, object]:
    """What `debian.lock` is made from: where this changes, the lock is out of date."""
    debian = spec.debian
    return {
        "suite": debian.suite,
        "component": debian.component,
        "architecture": debian.architecture,
        "packages": sorted(debian.packages),
    }


def python_inputs(spec: ImageSpec) -> dict[str, object]:
    """What `python.txt` is made from: where this changes, the lock is out of date."""
    python = spec.python
    without = {"without": sorted(python.without)} if python.without else {}
    return {
        "version": python.version,
        "platform": python.platform,
        "requirements": sorted(python.requirements),
        **without,
    }


def spec_digest(spec: ImageSpec) -> Digest:
    """The digest of a spec's content; comments and the order of keys do not count.

    What came to specs later counts only where it is used, so that locks made before stay valid.
    """
    content = msgspec.to_builtins(spec)
    if not spec.python.without:
        del content["python"]["without"]
    if spec.base is None:
        del content["base"]
    return signature(content)
