"""A state of an environment as flat entries: what stands at each path of each layer, ready to be compared."""

from collections.abc import Iterator
from enum import StrEnum

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.locking.base import BaseImage
from harness.locking.debian import DebianPackage
from harness.locking.imagespec import ImageSpec
from harness.locking.python import LockedWheel
from harness.record.environment import Captured, Gpu, Library
from harness.release.report import Layer
from harness.release.state import EnvironmentState, Sources
from harness.runs.opening import EngineName
from harness.runs.survey import Survey

SURVEYED = frozenset(
    {
        Layer.HARDWARE,
        Layer.KERNEL,
        Layer.DRIVER,
        Layer.NATIVE,
        Layer.INTERPRETER,
        Layer.VARIABLE,
        Layer.RUNTIME,
        Layer.PROBE,
    }
)
"""The layers that only a survey knows (and, of `wheel`, what is installed)."""

WHEEL_LAYER = "wheel:"
"""How the layer of an image is called that holds one large wheel alone, before the wheel's name."""


class Scheme(StrEnum):
    """How versions are ordered: as Python's, as Debian's, or as Debian's where a text looks like a version at all."""

    PYTHON = "python"
    DEBIAN = "debian"
    LOOSE = "loose"


class Entry(msgspec.Struct, frozen=True):
    """What stands at one path. `value` is a version where there is a `scheme`.

    `facts` belong to it by name (digests of its bytes, as a rule) and are shown where they differ; `details` are shown
    where nothing else differs.
    """

    value: str
    scheme: Scheme | None = None
    facts: dict[str, str] = {}
    details: dict[str, str] = {}


Entries = dict[tuple[Layer, str], Entry]
_Items = Iterator[tuple[Layer, str, Entry]]


def flatten(state: EnvironmentState, *, surveyed: bool) -> Entries:
    """Every entry of a state; without its survey where `surveyed` is false, because the other side has none.

    A plain process of the machine (`host`) has no image and no Debian packages of ours, and its wheels are installed
    whole: of its sources only what its wheels come from counts.
    """
    survey = state.survey if surveyed else None
    entries: Entries = {}
    for layer, path, entry in _all(state, survey):
        entries[layer, path] = entry
    return entries


def _all(state: EnvironmentState, survey: Survey | None) -> _Items:
    isolated = state.engine is not EngineName.HOST
    yield Layer.KERNEL, "engine", Entry(state.engine.value)
    yield Layer.RUNTIME, "profile", Entry(state.profile.value)
    yield from _wheels(state.sources.python.wheels, survey)
    yield from _python_lock(state.sources)
    if isolated:
        yield from _image(state.sources)
        yield from (_package(package) for package in state.sources.debian.packages)
        yield from _image_locks(state.sources)
    for path, value in _spec(state.sources.spec):
        if isolated or (path.startswith("python.") and not path.startswith("python.exclude/")):
            yield Layer.SPEC, path, Entry(value)
    if survey is not None:
        yield from _machine(survey)
        yield from _inside(survey.captured)
        yield from _settings(survey)


def _wheels(locked: tuple[LockedWheel, ...], survey: Survey | None) -> _Items:
    wheels = {wheel.name: wheel for wheel in locked}
    installed = survey.captured.libraries if survey is not None else {}
    for name in sorted(wheels.keys() | installed.keys()):
        entry = _wheel(wheels.get(name), installed.get(name), known=survey is not None)
        yield Layer.WHEEL, name, entry


def _wheel(locked: LockedWheel | None, installed: Library | None, *, known: bool) -> Entry:
    """One distribution as locked and as installed, which must agree: where they don't, the entry says so."""
    facts: dict[str, str] = {}
    details: dict[str, str] = {}
    if locked is not None:
        facts["wheel"] = locked.digest
        details["tags"] = locked.filename.split("-", 2)[-1]
    else:
        facts["locked"] = "nothing"
    if installed is not None:
        facts["files"] = installed.digest or "without RECORD"
        if locked is not None and installed.version != locked.version:
            facts["installed"] = installed.version
    elif known:
        facts["installed"] = "nothing"
    named = locked or installed
    version = named.version if named is not None else ""
    return Entry(version, Scheme.PYTHON, facts, details)


def _package(package: DebianPackage) -> tuple[Layer, str, Entry]:
    details = {
        "architecture": package.architecture,
        "path": package.path,
        "size": str(package.size),
        "scripts": " ".join(script.name for script in package.scripts),
        **{f"script {script.name}": msgspec.json.encode(script).decode() for script in package.scripts},
    }
    return Layer.OS_PACKAGE, package.name, Entry(package.version, Scheme.DEBIAN, {"deb": package.digest}, details)


def _image(sources: Sources) -> _Items:
    yield Layer.IMAGE, "builder", Entry(str(sources.builder))
    for name, value in sources.variables.items():
        yield Layer.IMAGE, f"variables/{name}", Entry(value)
    if sources.image is not None:
        yield Layer.IMAGE, "manifest", Entry(sources.image.manifest)
        yield Layer.IMAGE, "config", Entry(sources.image.config)
        for layer in sources.image.layers:
            yield Layer.IMAGE, f"layers/{layer.name}", Entry(layer.digest, details={"size": str(layer.size)})
        if sources.image.base is not msgspec.UNSET:
            yield from _base(sources.image.base)


def _base(base: BaseImage) -> _Items:
    """What an image took over; its layers go by their number, as in `base-1`."""
    yield Layer.IMAGE, "base/manifest", Entry(base.manifest or "none")
    for key in ("config", "architecture"):
        yield Layer.IMAGE, f"base/{key}", Entry(getattr(base, key))
    for name, value in base.variables.items():
        yield Layer.IMAGE, f"base/variables/{name}", Entry(value)
    for number, layer in enumerate(base.layers, 1):
        yield (
            Layer.IMAGE,
            f"base/layers/{number}",
            Entry(layer.digest, facts={"blob": layer.blob}, details={"size": str(layer.size)}),
        )


def _python_lock(sources: Sources) -> _Items:
    if digest := sources.digests.get("python.txt"):
        yield Layer.LOCK, "python.txt", Entry(digest)
    for name in ("inputs", "version", "platform"):
        yield Layer.LOCK, f"python.txt/{name}", Entry(getattr(sources.python, name))


def _image_locks(sources: Sources) -> _Items:
    """The other locks, and where `image.lock` was made from other inputs than stand beside it."""
    for name, digest in sources.digests.items():
        if name == "spec":
            yield Layer.SPEC, "digest", Entry(digest)
        elif name != "python.txt":
            yield Layer.LOCK, name, Entry(digest)
    for name in ("inputs", "suite", "component", "architecture", "snapshot"):
        yield Layer.LOCK, f"debian.lock/{name}", Entry(getattr(sources.debian, name))
    image = sources.image
    if image is not None:
        yield Layer.LOCK, "image.lock", Entry("present")
        for name in sorted(image.inputs.keys() | sources.digests.keys()):
            if image.inputs.get(name) != sources.digests.get(name):
                yield Layer.LOCK, f"image.lock/{name}", Entry(image.inputs.get(name) or "none")
        if image.builder != sources.builder:
            yield Layer.LOCK, "image.lock/builder", Entry(str(image.builder))


def _spec(spec: ImageSpec) -> Iterator[tuple[str, str]]:
    """The leaves of a spec: a list is a set of its items, a user or requirement goes by its name."""
    yield "name", spec.name
    yield "variant", spec.variant
    yield "large_wheel", str(spec.large_wheel)
    if spec.base is not None:
        yield "base", spec.base
    for key in ("suite", "component", "architecture"):
        yield f"debian.{key}", getattr(spec.debian, key)
    for key in ("version", "platform"):
        yield f"python.{key}", getattr(spec.python, key)
    for path, items in (
        ("debian.packages", spec.debian.packages),
        ("debian.exclude", spec.debian.exclude),
        ("python.exclude", spec.python.exclude),
    ):
        yield from ((f"{path}/{item}", item) for item in items)
    requirements: dict[str, list[str]] = {}
    for text in spec.python.requirements:
        requirements.setdefault(requirement_name(text), []).append(text)
    yield from ((f"python.requirements/{name}", " | ".join(sorted(texts))) for name, texts in requirements.items())
    yield from ((f"python.without/{name}", reason) for name, reason in spec.python.without.items())
    for user in spec.users:
        yield f"users/{user.name}/uid", str(user.uid)
        yield f"users/{user.name}/home", user.home
    for key in ("links", "files", "postinst"):
        yield from ((f"{key}/{name}", value) for name, value in getattr(spec, key).items())


def requirement_name(text: str) -> str:
    """The distribution that a requirement asks for, normalised; the text itself where it is none."""
    try:
        return canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        return text


def _machine(survey: Survey) -> _Items:
    captured, cpu = survey.captured, survey.captured.cpu
    for key in ("architecture", "vendor", "family", "model", "model_name"):
        yield Layer.HARDWARE, f"cpu.{key}", Entry(getattr(cpu, key))
    if "isa" in cpu.dispatch:
        yield Layer.HARDWARE, "cpu.isa", Entry(cpu.dispatch["isa"])
    yield Layer.HARDWARE, "memory", Entry(str(survey.memory))
    for key, value in captured.host.items():
        if key == "kernel":
            yield Layer.KERNEL, "release", Entry(value, Scheme.LOOSE)
        else:
            yield Layer.HARDWARE, key, Entry(value)
    for key, value in survey.engine.items():
        yield Layer.KERNEL, f"engine.{key}", Entry(value, Scheme.LOOSE)
    if captured.gpu is not None:
        yield from _gpu(captured.gpu)


def _gpu(gpu: Gpu) -> _Items:
    for key in ("name", "compute_capability", "multiprocessors"):
        yield Layer.HARDWARE, f"gpu.{key}", Entry(str(getattr(gpu, key)))
    yield Layer.DRIVER, "gpu.driver", Entry(gpu.driver, Scheme.LOOSE)
    for name, version in gpu.libraries.items():
        yield Layer.DRIVER, f"gpu.libraries.{name}", Entry(version, Scheme.LOOSE)


def _inside(captured: Captured) -> _Items:
    version = captured.python.get("version", "")
    for key, value in captured.python.items():
        match key:
            case "version":
                entry = Entry(value, Scheme.PYTHON)
            case "executable":
                entry = Entry(version, Scheme.PYTHON, {"file": value})
            case _:
                entry = Entry(value)
        yield Layer.INTERPRETER, key, entry
    for name, value in captured.native.items():
        yield Layer.NATIVE, name, Entry(value, None if value.startswith("sha256:") else Scheme.LOOSE)
    for name, value in captured.cpu.dispatch.items():
        if name != "isa":
            yield Layer.RUNTIME, f"dispatch.{name}", Entry(value)


def _settings(survey: Survey) -> _Items:
    """The run's variables, and of the settings as found what they do not say already."""
    for name, value in survey.variables.items():
        yield Layer.VARIABLE, name, Entry(value)
    for name, value in survey.captured.settings.items():
        if survey.variables.get(name) != value:
            yield Layer.RUNTIME, f"settings.{name}", Entry(value)
