"""Roots and consequences: which changes are explained by which others.

A wheel that was upgraded shows again in the lock's digest, in a layer of the image and in its manifest. Only the wheel
is a root; the others follow from it. What nothing explains stays a root itself.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.release.changes import Difference
from harness.release.entries import SURVEYED, WHEEL_LAYER
from harness.release.report import Kind, Layer
from harness.release.wheels import may_hold, wheels_of
from harness.spec.variables import TABLE

_CPU = tuple(f"hardware cpu.{name}" for name in ("architecture", "vendor", "family", "model", "isa"))
_THREADS = tuple(f"variable {row.name}" for row in TABLE if row.thread_count)
_ASSEMBLY = ("image builder", "spec python.exclude/*", "spec python.version", "spec large_wheel")


class Row(NamedTuple):
    """One line of the table: a consequence, what may be behind it, and of which kinds it then is (empty: any).

    Changes go by their names; `*` stands for any text, `{x}` for one text that is the same on both sides, `{wheel}` for
    each wheel that may bring the folder `{owner}`. With `facts` it is a consequence only where just these facts differ.
    """

    consequence: str
    causes: tuple[str, ...]
    kinds: tuple[Kind, ...] = ()
    facts: tuple[str, ...] = ()

    def is_about(self, difference: Difference) -> bool:
        """Whether a change of that kind may be its consequence."""
        return (not self.kinds or difference.kind in self.kinds) and self.facts in ((), difference.facts)


_CAME_OR_WENT = (Kind.ADDED, Kind.REMOVED)
_EXCLUDE = "spec python.exclude/"
_OWNER = ("wheel {wheel}", "wheel {owner}-*")
_SHOWN = SURVEYED | {Layer.WHEEL}
"""What a running environment shows; of a wheel, which files are installed."""

ROWS: tuple[Row, ...] = (
    # A machine: one that is another altogether is one change, not seven.
    Row("hardware cpu.vendor", ("hardware cpu.architecture",)),
    Row("hardware cpu.family", ("hardware cpu.architecture", "hardware cpu.vendor")),
    Row("hardware cpu.model", _CPU[:3]),
    Row("hardware cpu.model_name", _CPU[:4]),
    Row("hardware cpu.isa", _CPU[:4]),
    Row("hardware gpu.compute_capability", ("hardware gpu.name",)),
    Row("hardware gpu.multiprocessors", ("hardware gpu.name", "driver gpu.libraries.gpus")),
    Row("driver gpu.*", ("hardware gpu.name",), _CAME_OR_WENT),
    Row("driver gpu.libraries.cuda-driver", ("driver gpu.driver",)),
    Row("driver gpu.libraries.{name}", ("wheel {name}",)),
    # The engine, and what there is only with it.
    Row("kernel engine.*", ("kernel engine",)),
    Row("kernel engine.kernel", ("kernel release",)),
    Row("kernel engine.api", ("kernel engine.version",)),
    *(Row(f"{layer} *", ("kernel engine",), _CAME_OR_WENT) for layer in ("image", "os-package", "lock", "spec")),
    # What an image leaves out of a wheel is not installed; the wheel itself is the same.
    Row("wheel *", (f"{_EXCLUDE}*", "kernel engine"), (Kind.REBUILT,), ("files",)),
    # Without its lock there is no image to speak of.
    Row("image manifest", ("lock image.lock",), _CAME_OR_WENT),
    Row("image config", ("lock image.lock",), _CAME_OR_WENT),
    Row("image layers/*", ("lock image.lock",), _CAME_OR_WENT),
    Row("image base/*", ("lock image.lock",), _CAME_OR_WENT),
    Row("lock image.lock/*", ("lock image.lock",), _CAME_OR_WENT),
    # Locks follow from what they list.
    Row("lock debian.lock", ("os-package *", "lock debian.lock/*")),
    Row("lock debian.lock/inputs", ("spec debian.*",)),
    Row("lock debian.lock/snapshot", ("os-package *",)),
    Row("lock debian.lock/{key}", ("spec debian.{key}",)),
    Row("lock python.txt", ("wheel *", "lock python.txt/*")),
    Row(
        "lock python.txt/inputs",
        ("spec python.requirements/*", "spec python.without/*", "spec python.version", "spec python.platform"),
    ),
    Row("lock python.txt/{key}", ("spec python.{key}",)),
    Row("lock variables", ("image variables/*",)),
    Row("lock image.lock/spec", ("spec *",)),
    Row("lock image.lock/builder", ("image builder",)),
    Row("lock image.lock/{input}", ("lock {input}",)),
    Row("spec digest", ("spec *",)),
    # An image follows from its inputs (`harness.images.plan` says what goes into which layer).
    Row("image layers/debian", ("os-package *", "spec debian.exclude/*", "image builder")),
    Row(f"image layers/{WHEEL_LAYER}{{name}}", ("wheel {name}", *_ASSEMBLY)),
    Row("image layers/wheels", ("wheel *", *_ASSEMBLY)),
    Row(
        "image layers/configuration",
        ("spec users/*", "spec links/*", "spec files/*", "os-package *", "image builder"),
    ),
    Row("image variables/{name}", ("variable {name}", "spec variant")),
    Row("image config", ("image layers/*", "image variables/*", "image builder")),
    Row("image config", ("spec name", "spec debian.architecture", "image base/*")),
    Row("image base/*", ("spec base",)),
    Row("image layers/base-{number}", ("image base/layers/{number}", "spec base")),
    Row("image manifest", ("image config", "image layers/*")),
    # What is found inside follows from the packages that bring it.
    Row("interpreter *", ("os-package python3*", "os-package libpython3*")),
    Row("interpreter build", ("interpreter version",)),
    Row("interpreter compiler", ("interpreter version",)),
    Row("interpreter executable", ("interpreter version", "interpreter build", "interpreter compiler")),
    Row("native libc", ("os-package libc6",)),
    Row("native libc.so.6", ("os-package libc6", "native libc")),
    Row("native libm.so.6", ("os-package libc6", "native libc")),
    Row("native libgomp.so.1", ("os-package libgomp1",)),
    Row("native libstdc++.so.6", ("os-package libstdc++6",)),
    Row("native system/openmp", ("os-package libgomp1",)),
    Row("native {owner}/*", _OWNER),
    # What libraries select follows from the CPU, from the library, and from the variables that cap it.
    Row("runtime dispatch.*", _CPU),
    Row("runtime dispatch.numpy", ("wheel numpy", "variable NPY_*")),
    Row("runtime dispatch.openblas", ("wheel numpy", "variable OPENBLAS_CORETYPE")),
    Row("runtime dispatch.{owner}/*", _OWNER),
    Row("runtime dispatch.{owner}/openblas", ("variable OPENBLAS_CORETYPE",)),
    Row("runtime dispatch.torch/aten", ("variable ATEN_CPU_CAPABILITY",)),
    Row("runtime dispatch.torch/onednn", ("variable ONEDNN_*", "variable DNNL_*")),
    Row("runtime dispatch.torch/mkl", ("variable MKL_CBWR",)),
    Row("runtime settings.{name}", ("variable {name}",)),
    Row("runtime settings.threads", ("variable OMP_NUM_THREADS", "hardware cores")),
    # Not from the cores: a pinned count stays on any machine, so one that went with them is a pin that is gone.
    Row("runtime settings.*.threads", _THREADS),
    Row("runtime settings.{owner}/*", _OWNER, _CAME_OR_WENT),
    # Variables that one choice sets together.
    *(Row(f"variable {row.name}", ("runtime profile",)) for row in TABLE if row.profile or row.value == "{profile}"),
    *(Row(f"variable {row.name}", ("spec variant",)) for row in TABLE if row.variant or row.value == "{variant}"),
    *(Row(f"variable {row.name}", ("variable REPRO_MODE",), _CAME_OR_WENT) for row in TABLE if row.mode),
    *(Row(f"variable {row.name}", ("variable REPRO_THREADS",), (Kind.CHANGED,)) for row in TABLE if row.thread_count),
    *(Row(f"variable {row.name}", (f"wheel {row.older[0]}",), (Kind.CHANGED,)) for row in TABLE if row.older),
)  # fmt: skip


def follows_from(
    found: Sequence[Difference], *, own_layers: Iterable[str] = (), harmless: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The roots of each consequence, by name, in the order of `found`; a root is not in it.

    `own_layers` are the wheels that have a layer of the image to themselves, so that they don't explain the shared one.
    `harmless` are the names of changes that fail no check: nothing else that a running environment shows is excused by
    such alone. (Digests are: they say no more than what they are over.)
    """
    names = {difference.name: difference for difference in found}
    apart, passing = {f"wheel {name}" for name in own_layers}, frozenset(harmless)
    direct = {name: _direct(difference, names, apart) for name, difference in names.items()}
    order = {name: index for index, name in enumerate(names)}
    roots = {name: _roots(name, direct) for name in names}
    while alone := [name for name in names if _is_no_excuse(names[name], roots[name], passing)]:
        direct |= {name: set() for name in alone}
        roots = {name: _roots(name, direct) for name in names}
    return {name: tuple(sorted(behind, key=order.__getitem__)) for name, behind in roots.items() if behind}


def _is_no_excuse(consequence: Difference, roots: set[str], harmless: frozenset[str]) -> bool:
    """Whether all that a change follows from passes, while it would not by itself."""
    return consequence.layer in _SHOWN and consequence.name not in harmless and bool(roots) and roots <= harmless


def _direct(difference: Difference, names: Mapping[str, Difference], apart: set[str]) -> set[str]:
    causes: set[str] = set()
    for row in ROWS:
        if not row.is_about(difference):
            continue
        match = _pattern(row.consequence).fullmatch(difference.name)
        if match is None:
            continue
        for wanted in _wanted(row.causes, match.groupdict()):
            causes |= {wanted} & names.keys() if "*" not in wanted else _matching(wanted, names)
    if difference.name == "image layers/wheels":
        causes -= apart
    if (wheel := _wheel_of(difference)) is not None:
        causes -= {name for name in causes if name.startswith(_EXCLUDE) and not may_hold(wheel, name[len(_EXCLUDE) :])}
    return causes - {difference.name}


def _wheel_of(difference: Difference) -> str | None:
    """The one wheel that a change is about: itself, or the layer of an image that holds it alone."""
    if difference.layer is Layer.WHEEL:
        return difference.path
    prefix = f"layers/{WHEEL_LAYER}"
    alone = difference.layer is Layer.IMAGE and difference.path.startswith(prefix)
    return difference.path.removeprefix(prefix) if alone else None


def _wanted(patterns: Iterable[str], parts: Mapping[str, str]) -> set[str]:
    """The patterns with a consequence's parts filled in, and with each wheel that may bring its owner."""
    wheels = wheels_of(parts["owner"]) if "owner" in parts else [""]
    return {
        functools.reduce(_filled, {**parts, "wheel": wheel}.items(), pattern)
        for pattern in patterns
        for wheel in wheels
    }


def _filled(pattern: str, part: tuple[str, str]) -> str:
    return pattern.replace(f"{{{part[0]}}}", part[1])


def _matching(pattern: str, names: Iterable[str]) -> set[str]:
    expression = _pattern(pattern)
    return {name for name in names if expression.fullmatch(name)}


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    """A row's pattern as an expression; a `{x}` takes no slash, so that an owner is what stands before it."""
    parts = re.split(r"(\*|\{\w+\})", text)
    return re.compile("".join(_expression(part) for part in parts), re.DOTALL)


def _expression(part: str) -> str:
    if part == "*":
        return ".*"
    return f"(?P<{part[1:-1]}>[^/]+)" if re.fullmatch(r"\{\w+\}", part) else re.escape(part)


def _roots(name: str, direct: Mapping[str, set[str]]) -> set[str]:
    """Where the causes of a change lead in the end: to changes that have none; empty where it is one itself."""
    seen, waiting, roots = {name}, list(direct[name]), set()
    while waiting:
        cause = waiting.pop()
        if cause in seen:
            continue
        seen.add(cause)
        if direct[cause]:
            waiting.extend(direct[cause])
        else:
            roots.add(cause)
    return roots
