"""Which comparison groups of a baseline end with which change: nothing run in the candidate is compared with them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from harness.record.environment import covered_parts
from harness.record.hashing import signature
from harness.release.baseline import Golden, GoldenResult
from harness.release.changes import Difference
from harness.release.numbers import Probes, Scope, golden_path, probe_signature, probes_of
from harness.release.report import ExpiredGroup, Layer
from harness.release.state import EnvironmentState
from harness.runs.opening import EngineName
from harness.spec.digest import Digest

_CPU = ("architecture", "vendor", "family", "model")
_PARTS = {Layer.INTERPRETER: "python", Layer.WHEEL: "libraries", Layer.NATIVE: "native", Layer.VARIABLE: "settings"}


class _Cell(msgspec.Struct, frozen=True):
    group: Digest
    path: str
    libraries: Scope
    result: GoldenResult


class Expiry:
    """The comparison groups of an environment's golden cells, before a candidate."""

    def __init__(
        self,
        before: EnvironmentState,
        after: EnvironmentState,
        goldens: Sequence[Golden],
        used: Mapping[str, Scope],
    ) -> None:
        self._before, self._after = before, after
        surveyed = before.survey is not None and after.survey is not None
        self._old, self._new = (_signed(state, surveyed=surveyed) for state in (before, after))
        self._moved = _moved_libraries(before, after)
        self._signatures: dict[tuple[str, frozenset[str]], Digest] = {}
        self._cells = tuple(
            _Cell(signature(result.group), path, used[path], result)
            for golden in goldens
            for result in golden.cells
            for path in (golden_path(golden, result),)
        )

    def of(self, difference: Difference) -> frozenset[Digest]:
        """The groups that end with one change, apart from what follows from it.

        A change that the environment's signature covers ends all; a probe kernel those of the families that use its
        library, and so does what belongs to a library alone (`owner/what`) where that library's kernels moved.
        """
        if self._is_covered(difference):
            return frozenset(cell.group for cell in self._cells)
        library = _library_of(difference)
        if library not in self._moved:
            return frozenset()
        return frozenset(cell.group for cell in self._cells if cell.libraries is None or library in cell.libraries)

    def total(
        self, stored: Callable[[Digest], tuple[str, ...]], attributed: Iterable[Digest]
    ) -> tuple[ExpiredGroup, ...]:
        """Every group that ended: by what the candidate would sign, or by its changes where it was not surveyed."""
        known = frozenset(attributed)
        if self._after.survey is None:
            ended = [cell for cell in self._cells if cell.group in known]
        else:
            environment = signature(_signed(self._after, surveyed=True))
            ended = [cell for cell in self._cells if self._has_ended(cell, environment, known)]
        return tuple(
            ExpiredGroup(group=cell.group, golden=cell.path, stored_runs=stored(cell.group))
            for cell in sorted(ended, key=lambda cell: (cell.path, cell.group))
        )

    def _is_covered(self, difference: Difference) -> bool:
        if (difference.layer, difference.path) == (Layer.RUNTIME, "profile"):
            return True  # a part of every group
        part = _part(difference)
        if part is not None and part[0] == "image" and self._is_image_unknown:
            return False
        return part is not None and _value(part, self._old) != _value(part, self._new)

    @property
    def _is_image_unknown(self) -> bool:
        """Whether there is no lock that says which image is meant: it may be made again as it was, and end nothing."""
        return self._after.engine is not EngineName.HOST and self._after.sources.image is None

    def _has_ended(self, cell: _Cell, environment: Digest, attributed: frozenset[Digest]) -> bool:
        group, signed = cell.result.group, cell.result.group.get("probe_signature")
        if group.get("profile") != self._after.profile.value or group.get("environment_signature") != environment:
            return True
        old, new = probes_of(self._before), probes_of(self._after)
        libraries = frozenset(old.keys() | new.keys()) if cell.libraries is None else cell.libraries
        if self._signature(libraries, old, "before") == signed:
            return self._signature(libraries, new, "after") != signed
        # What the family is probed with could not be found out: any kernel of what it may use counts.
        return cell.group in attributed

    def _signature(self, libraries: frozenset[str], probes: Probes, side: str) -> Digest:
        """A probe signature, computed once: the cells of a family share it."""
        if (key := (side, libraries)) not in self._signatures:
            self._signatures[key] = probe_signature(libraries, probes)
        return self._signatures[key]


def _signed(state: EnvironmentState, *, surveyed: bool) -> dict[str, Any]:
    """What the environment's signature is over; without surveys only what locks tell."""
    isolated = state.engine is not EngineName.HOST
    manifest = state.sources.image.manifest if isolated and state.sources.image is not None else None
    if state.survey is None or not surveyed:
        return {"image": manifest}
    return covered_parts(state.survey.captured, manifest, state.profile)


def _part(difference: Difference) -> tuple[str, str] | None:
    """Where in the signature a change would show."""
    layer, path = difference.layer, difference.path
    if layer in _PARTS:
        return _PARTS[layer], path
    match layer:
        case Layer.IMAGE if path == "manifest":
            return "image", ""
        case Layer.HARDWARE if path == "cpu.isa":
            return "dispatch", "isa"
        case Layer.HARDWARE | Layer.DRIVER if path.partition(".")[0] in ("cpu", "gpu"):
            part, _, key = path.partition(".")
            return part, key
        case Layer.RUNTIME:
            part, _, key = path.partition(".")
            return part, key
    return None


def _value(part: tuple[str, str], signed: Mapping[str, Any]) -> object:
    section, key = part
    found = signed.get(section)
    match section:
        case "image":
            return found
        case "cpu":
            return dict(zip(_CPU, found or (), strict=False)).get(key) if found else None
        case "gpu":
            name, _, library = key.partition(".")
            value = getattr(found, name, None)
            return value.get(library) if isinstance(value, dict) else value
    return None if found is None else found.get(key)


def _library_of(difference: Difference) -> str | None:
    """The library that a probe kernel or an `owner/what` entry belongs to."""
    path = difference.path
    if difference.layer is Layer.RUNTIME:
        path = path.partition(".")[2]
    elif difference.layer not in (Layer.PROBE, Layer.NATIVE):
        return None
    owner, slash, _ = path.partition("/")
    return owner if slash else None


def _moved_libraries(before: EnvironmentState, after: EnvironmentState) -> frozenset[str]:
    if before.survey is None or after.survey is None:
        return frozenset()
    old, new = probes_of(before), probes_of(after)
    return frozenset(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
