"""What changed between two cells' comparison groups, in words that name the layer.

What counts of an environment is settled by `environment_signature`; here it is only put into words.
"""

from collections.abc import Container, Iterator, Mapping

from harness.record.environment import Library
from harness.record.snapshot import EnvironmentRecord, Group
from harness.spec.run import Profile
from harness.spec.variables import thread_counts

_SHOWN = 6
_INSTRUCTION_SETS = "isa"


def changed_keys(before: Group, after: Group) -> tuple[str, ...]:
    """The names of the fields that differ, sorted; a field that one side lacks differs."""
    return tuple(sorted(name for name in before.keys() | after.keys() if _differ(before, after, name)))


def describe_change(
    name: str, before: Group, after: Group, environments: tuple[str, ...], probes: tuple[str, ...]
) -> str:
    """One sentence on one changed field, with what lies behind it where that is known."""
    behind = {"environment_signature": environments, "probe_signature": probes}.get(name, ())
    change = f"{name} {short(before.get(name))} → {short(after.get(name))}"
    if not behind:
        return change
    more = [f"and {len(behind) - _SHOWN} more"] if len(behind) > _SHOWN else []
    return f"{change} ({'; '.join([*behind[:_SHOWN], *more])})"


def environment_changes(before: EnvironmentRecord, after: EnvironmentRecord, profile: Profile) -> tuple[str, ...]:
    """What differs in the layers that an environment's signature covers, one phrase each, from the image downwards."""
    return tuple(_environment_changes(before, after, profile))


def probe_changes(before: EnvironmentRecord, after: EnvironmentRecord) -> tuple[str, ...]:
    """The numeric kernels whose probes differ, as `probe numpy/matmul`, then what the libraries say of themselves."""
    return tuple(
        [
            f"probe {library}/{kernel}"
            for library in sorted(before.probe.keys() | after.probe.keys())
            for kernel in sorted(before.probe.get(library, {}).keys() | after.probe.get(library, {}).keys())
            if before.probe.get(library, {}).get(kernel) != after.probe.get(library, {}).get(kernel)
        ]
        + list(_named("native", _owned(before.native), _owned(after.native)))
        + list(_named("dispatch", _owned(before.cpu.dispatch), _owned(after.cpu.dispatch)))
        + list(_named("setting", _owned(before.settings), _owned(after.settings)))
    )


def short(value: object) -> str:
    """A value as a person wants to see it: the first eight digits of a digest, `none` for nothing."""
    if value is None:
        return "none"
    text = str(value)
    if text.startswith("sha256:"):
        return text.removeprefix("sha256:")[:8]
    return text if len(text) <= 60 else f"{text[:57]}..."


def _differ(before: Group, after: Group, name: str) -> bool:
    if name not in before or name not in after:
        return True
    return before[name] != after[name] or type(before[name]) is not type(after[name])


def _environment_changes(before: EnvironmentRecord, after: EnvironmentRecord, profile: Profile) -> Iterator[str]:
    yield from _image_changes(before, after)
    yield from _named("python", before.python, after.python)
    yield from _library_changes(before.libraries, after.libraries)
    yield from _named("native", _common(before.native), _common(after.native))
    names = ["architecture", *(["vendor", "family", "model"] if profile is Profile.NATIVE else [])]
    for name in names:
        old, new = getattr(before.cpu, name), getattr(after.cpu, name)
        if old != new:
            yield f"cpu {name} {short(old)} → {short(new)}"
    hidden = () if profile is Profile.NATIVE else (_INSTRUCTION_SETS,)
    yield from _named("dispatch", _common(before.cpu.dispatch, hidden), _common(after.cpu.dispatch, hidden))
    yield from _gpu_changes(before, after)
    yield from _named("setting", _common(before.settings, thread_counts()), _common(after.settings, thread_counts()))


def _common(entries: Mapping[str, str], left_out: Container[str] = ()) -> dict[str, str]:
    """The entries that count whatever a program loads."""
    return {name: value for name, value in entries.items() if "/" not in name and name not in left_out}


def _owned(entries: Mapping[str, str]) -> dict[str, str]:
    """The entries `owner/what` of libraries that only some programs load."""
    return {name: value for name, value in entries.items() if "/" in name}


def _image_changes(before: EnvironmentRecord, after: EnvironmentRecord) -> Iterator[str]:
    old, new = before.image, after.image
    if (old and old.manifest) == (new and new.manifest):
        return
    yield f"image manifest {short(old and old.manifest)} → {short(new and new.manifest)}"
    if old is not None and new is not None:
        for name in sorted(old.locks.keys() | new.locks.keys()):
            if old.locks.get(name) != new.locks.get(name):
                yield f"image input {name} {short(old.locks.get(name))} → {short(new.locks.get(name))}"


def _library_changes(before: Mapping[str, Library], after: Mapping[str, Library]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if old is not None and new is not None and old.version == new.version:
            yield f"library {name} {old.version} with other files {short(old.digest)} → {short(new.digest)}"
        else:
            yield f"library {name} {short(old and old.version)} → {short(new and new.version)}"


def _gpu_changes(before: EnvironmentRecord, after: EnvironmentRecord) -> Iterator[str]:
    old, new = before.gpu, after.gpu
    if old is None or new is None:
        if old is not new:
            yield f"gpu {short(old and old.name)} → {short(new and new.name)}"
        return
    for name in ("name", "compute_capability", "multiprocessors", "driver"):
        if getattr(old, name) != getattr(new, name):
            yield f"gpu {name} {short(getattr(old, name))} → {short(getattr(new, name))}"
    yield from _named("gpu library", old.libraries, new.libraries)


def _named(layer: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{layer} {name} {short(before.get(name))} → {short(after.get(name))}"
