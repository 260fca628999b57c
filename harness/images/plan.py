"""From spec and locks to the layers of an image: what each holds, before a byte of it is written."""

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import IntegrityError, UsageError
from harness.images.basefiles import BaseFiles, lay_over
from harness.images.content import Inline
from harness.images.dpkg import status_path, sums_of, sums_path
from harness.images.inputs import Inputs
from harness.images.layer import PlannedLayer, layer_size
from harness.images.ldcache import add_linker_cache
from harness.images.paths import MERGED, Excludes, link_target, member_path, merged
from harness.images.readings import Readings
from harness.images.tree import Directory, Entry, File, Symlink, Tree
from harness.images.wheel import site_packages
from harness.locking.closure import Candidate, applies, relation_text, satisfies
from harness.locking.debian import Effects, effects
from harness.locking.imagespec import ImageSpec
from harness.locking.needs import missing_packages, unmet_needs, unmet_requirements

DEBIAN = "debian"
SMALL_WHEELS = "wheels"
CONFIGURATION = "configuration"

# Docker's overlay storage refuses more than about 125 layers.
MAX_LAYERS = 120

# The programs of wheels are found before Debian's. These are Python itself, and what we start by its name.
_OURS = re.compile(r"usr/local/s?bin/(python[0-9.]*|ldconfig|strace)")

# What programs expect of a root file system, whatever the packages bring.
_FOLDERS = {
    "dev": 0o755, "etc": 0o755, "proc": 0o755, "run": 0o755, "sys": 0o755, "tmp": 0o1777, "usr": 0o755, "var": 0o755,
    "var/tmp": 0o1777,
}  # fmt: skip


def plan_layers(
    inputs: Inputs, readings: Readings, temporary: Path, *, workers: int, base: Sequence[Path] = ()
) -> list[PlannedLayer]:
    """The layers of an image from the bottom to the top, of what `readings` finds in the artifacts.

    At the bottom Debian's packages; then large wheels, the smallest first, so that an engine can unpack those while the
    largest is still being made; then all small wheels, which change most often; then what the spec itself configures.
    `base` are the layers below all these; the folder `temporary` is for what is needed meanwhile.

    Raises:
        IntegrityError: an artifact is damaged or hostile, two of them put different things in one place, or a wheel has
            a Python of its own.
        UsageError: the spec asks for more layers than engines take, or for a base over which they cannot lie.
    """
    _check_asked(inputs)
    tree = Tree()
    with ThreadPoolExecutor(workers, thread_name_prefix="unpack") as pool:
        # Wheels' tables are read here while the pool unpacks: the one is Python's work, the other lzma's.
        archives = pool.map(readings.package, inputs.debian.packages)
        wheels = list(_read_wheels(inputs, readings))
        _add_debian(tree, inputs, archives)
    for layer, origin, entries in wheels:
        for path, entry in entries:
            _refuse_program(path, origin, inputs.spec)
            tree.add(path, entry, origin=origin, layer=layer)
    below = BaseFiles(base) if base else None
    found = effects(inputs.spec, inputs.debian)
    _add_configuration(tree, inputs.spec, below, found)
    _add_effects(tree, found)
    if below is not None:
        lay_over(tree, below, inputs.spec)
    else:
        add_linker_cache(tree, inputs.spec.debian.architecture, layer=CONFIGURATION, temporary=temporary)
    layers = [PlannedLayer(name, entries, layer_size(entries)) for name, entries in tree.layers().items()]
    if len(base) + len(layers) > MAX_LAYERS:
        raise UsageError(
            f"The image {inputs.spec.name} would have {len(base) + len(layers)} layers, and engines take {MAX_LAYERS}",
            hint=f"Raise large_wheel in docker/{inputs.spec.name}.yaml.",
        )
    order = {DEBIAN: 0, SMALL_WHEELS: 2, CONFIGURATION: 3}
    return sorted(layers, key=lambda layer: (order.get(layer.name, 1), layer.size, layer.name))


def _add_debian(tree: Tree, inputs: Inputs, archives: Iterable[list[tuple[str, Entry]]]) -> None:
    exclude = Excludes(inputs.spec.debian.exclude)
    controls = []
    for package, entries in zip(inputs.debian.packages, archives, strict=True):
        control = dict(entries)[status_path(package.name)]
        if isinstance(control, File):
            controls.append(Candidate(b"".join(control.content.chunks()).decode()))
        kept = {path: entry for path, entry in entries if path not in exclude}
        sums = kept.get(sums_path(package.name))
        if isinstance(sums, File):
            text = sums_of(b"".join(sums.content.chunks()), kept, f"{package.name} {package.version}")
            kept[sums_path(package.name)] = File(sums.mode, Inline(text))
        for path, entry in kept.items():
            tree.add(path, entry, origin=package.name, layer=DEBIAN)
    _check_dependencies(controls, inputs.debian.architecture)
    for folder in MERGED:
        if merged(folder) in tree:
            tree.add(folder, Symlink(merged(folder)), origin="the merged /usr", layer=DEBIAN)


def _read_wheels(inputs: Inputs, readings: Readings) -> Iterator[tuple[str, str, list[tuple[str, Entry]]]]:
    """Layer, name and entries of each wheel; at the end all that they need must be among them."""
    needs = {}
    for wheel in inputs.python.wheels:
        found = readings.wheel(wheel)
        needs[wheel.name] = found.needs
        large = found.size > inputs.spec.large_wheel
        yield f"wheel:{wheel.name}" if large else SMALL_WHEELS, wheel.name, found.entries
    for name, requirement in unmet_needs(inputs.spec, inputs.python, needs):
        raise _unmet("python.txt", f"does not meet {requirement}, which {name} needs", inputs.spec)


def _check_asked(inputs: Inputs) -> None:
    """Nothing, if the locks have what the spec itself names.

    Raises:
        IntegrityError: they do not: one was changed by hand.
    """
    spec = inputs.spec
    for package in missing_packages(spec, inputs.debian):
        raise _unmet("debian.lock", f"lacks {package}, which docker/{spec.name}.yaml names", spec)
    for requirement in unmet_requirements(spec, inputs.python):
        raise _unmet("python.txt", f"does not meet {requirement}, which docker/{spec.name}.yaml asks for", spec)


def _unmet(lock: str, problem: str, spec: ImageSpec) -> IntegrityError:
    return IntegrityError(
        f"{lock} {problem}",
        hint=f"Restore {lock} from version control, or make it again: `harness lock {spec.name}`.",
    )


def _refuse_program(path: str, wheel: str, spec: ImageSpec) -> None:
    """Refuse a wheel's file that would be started in place of a program on which every run rests."""
    if _OURS.fullmatch(path):
        below = posixpath.relpath(path, site_packages(spec.python.version))
        raise IntegrityError(
            f"{wheel} has a program /{path}, which would be started in place of the image's own",
            hint=f'Leave the file out in docker/{spec.name}.yaml (python.exclude: ["{below}"]), or the wheel.',
        )


def _add_configuration(tree: Tree, spec: ImageSpec, base: BaseFiles | None, found: Effects) -> None:
    origin = f"docker/{spec.name}.yaml"

    def add(path: str, entry: Entry) -> None:
        tree.add(merged(path), entry, origin=origin, layer=CONFIGURATION)

    for folder, mode in _FOLDERS.items():
        add(folder, Directory(mode))
    if spec.users or found.passwd or found.group:
        passwd = [f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:/bin/sh" for user in spec.users]
        passwd += found.passwd.values()
        add("etc/passwd", _lines([*passwd, *_others(base, "etc/passwd", passwd)]))
        group = [f"{user.name}:x:{user.uid}:" for user in spec.users]
        group += found.group.values()
        add("etc/group", _lines([*group, *_others(base, "etc/group", group)]))
    for user in spec.users:
        home = merged(_place(user.home, origin))
        if home not in tree:
            add(home, Directory(0o755))
    for place, target in spec.links.items():
        path = merged(_place(place, origin))
        add(path, Symlink(link_target(path, target, origin)))
    for place, text in spec.files.items():
        add(_place(place, origin), File(0o644, Inline(text.encode())))


def _check_dependencies(packages: Sequence[Candidate], architecture: str) -> None:
    """Nothing, if all that packages say they need is among them.

    Raises:
        IntegrityError: it is not: a lock was changed by hand.
    """
    index: dict[str, list[Candidate]] = {}
    for package in packages:
        for name in (package.name, *package.provides):
            index.setdefault(name, []).append(package)
    for package in packages:
        for group in package.depends:
            meant = [relation for relation in group if applies(relation, architecture)]
            if meant and not any(
                satisfies(other, relation, architecture)
                for relation in meant
                for other in index.get(relation["name"], ())
            ):
                raise IntegrityError(
                    f"debian.lock has nothing that {package.label} needs: {relation_text(meant)}",
                    hint="Restore debian.lock from version control, or make it again: `harness lock NAME`.",
                )


def _add_effects(tree: Tree, effects: Effects) -> None:
    """What maintainer scripts would have made, where the packages and the spec leave room for it."""
    origin = "the maintainer scripts"
    for folder in effects.folders:
        path = merged(_place(folder.place, origin))
        if path not in tree:
            tree.add(path, Directory(int(folder.mode, 8)), origin=origin, layer=CONFIGURATION)
    for place, target in effects.links.items():
        path = merged(_place(place, origin))
        aim = merged(_place(target, origin)) if target.startswith("/") else None
        # As update-alternatives does: no link to what is not there (manuals that a spec excludes).
        if path not in tree and (aim is None or aim in tree):
            tree.add(path, Symlink(link_target(path, target, origin)), origin=origin, layer=CONFIGURATION)


def _others(base: BaseFiles | None, path: str, lines: Sequence[str]) -> list[str]:
    """The lines of a base's accounts that are not among ours; they come last, so that a uid is ours first."""
    known = {line.partition(":")[0] for line in lines}
    others = base.text(path).splitlines() if base is not None else []
    return [line for line in others if line and line.partition(":")[0] not in known]


def _place(path: str, origin: str) -> str:
    return member_path(path.removeprefix("/"), origin)


def _lines(lines: Iterable[str]) -> File:
    return File(0o644, Inline("".join(f"{line}\n" for line in lines).encode()))
