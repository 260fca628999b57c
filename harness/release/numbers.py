"""Did numbers move? Every change that can move them is held against the probe's kernels and the golden runs."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import msgspec

from harness.record.environment import PROBED
from harness.record.hashing import signature
from harness.release.baseline import Golden, GoldenResult
from harness.release.changes import Difference, simple
from harness.release.report import Answer, GoldenCell, GoldenName, Kind, Layer
from harness.release.rules import Moves, Rule, Rules
from harness.release.state import EnvironmentState
from harness.release.wheels import library_of
from harness.spec.digest import Digest
from harness.spec.experiment import BUILT_IN_FAMILIES

ALWAYS_PROBED = "numpy"
"""What every family is probed with, because features, targets and metrics are computed with it."""

Probes = Mapping[str, Mapping[str, Digest]]
Scope = frozenset[str] | None
"""Libraries by the names that the probe has for them; null: every one, known or not."""


class GoldenEvidence(msgspec.Struct, frozen=True):
    """What a golden cell that was run again says, and about which libraries (null: unknown, so it may be any)."""

    path: str
    answer: Answer
    libraries: Scope


class Evidence(msgspec.Struct, frozen=True):
    """What is known of numbers: `kernels` that differ, by library; `compared`: libraries that both sides probed.

    `golden` are all cells that the baseline holds of the environment; `installed` the libraries on either side that
    compute (`computing`).
    """

    kernels: dict[str, tuple[str, ...]]
    compared: frozenset[str]
    golden: tuple[GoldenEvidence, ...]
    installed: frozenset[str] = frozenset()

    def about(self, scope: Scope) -> tuple[str, ...]:
        """The kernels (`numpy/exp64`) and golden cells of these libraries that changed.

        Who uses a library that no probe knows is not known either: any golden cell may.
        """
        anybody = scope is not None and bool(unknown_to_probes(scope))
        kernels = [
            f"{library}/{kernel}"
            for library, names in sorted(self.kernels.items())
            if scope is None or library in scope
            for kernel in names
        ]
        cells = [
            cell.path
            for cell in self.golden
            if cell.answer is Answer.CHANGED
            and (scope is None or anybody or cell.libraries is None or scope & cell.libraries)
        ]
        return (*kernels, *cells)

    def answer(self, scope: Scope) -> Answer:
        """Whether numbers of these libraries moved.

        They did not where `untested` names none of them; where a change can move any library's, every library that is
        installed and computes must have been looked at.
        """
        if self.about(scope):
            return Answer.CHANGED
        wanted = self.installed if scope is None else scope
        return Answer.UNCHANGED if wanted and not self.untested(scope) else Answer.NOT_TESTED

    def untested(self, scope: Scope) -> tuple[str, ...]:
        """Those of the libraries that nothing looked at.

        A library was looked at where it was compared kernel by kernel, or is known to be used by a golden cell that
        gave the same bits; one that no probe knows, where all golden runs did.
        """
        tested = set(self.compared)
        for cell in self.golden:
            if cell.answer is Answer.UNCHANGED and cell.libraries is not None:
                tested |= cell.libraries
        left = (self.installed if scope is None else scope) - tested
        if self.answer_of_golden_runs() is Answer.UNCHANGED:
            left -= unknown_to_probes(left)
        return tuple(sorted(left))

    def answer_of_golden_runs(self) -> Answer:
        """Whether anything moved where only golden runs can tell: changed code may leave every kernel as it was.

        It did not where every golden cell of the environment was run again and gave the same bits.
        """
        if self.about(None):
            return Answer.CHANGED
        answers = {cell.answer for cell in self.golden}
        return Answer.UNCHANGED if answers == {Answer.UNCHANGED} else Answer.NOT_TESTED


def unknown_to_probes(libraries: frozenset[str]) -> frozenset[str]:
    """Those of the libraries that the probe has no kernels of."""
    return libraries - set(PROBED)


def computing(before: EnvironmentState, after: EnvironmentState, rules: Rules) -> frozenset[str]:
    """The libraries installed on either side whose own numbers a change could move, by the names of the probe.

    That are those that the probe knows, and of others those whose wheels by the rules can move any numbers at all: what
    computes for another library may do so for a model too, and no probe looks at that.
    """
    wheels = {wheel.name for state in (before, after) for wheel in state.sources.python.wheels}
    for state in (before, after):
        wheels |= set() if state.survey is None else state.survey.captured.libraries.keys()
    movers = {
        name for name in wheels if any(rules.judge(Layer.WHEEL, name, kind).moves is not Moves.NONE for kind in Kind)
    }
    probed = {name for name in wheels if library_of(name) in PROBED}
    return frozenset({"python"} | {library_of(name) for name in movers | probed})


def probes_of(state: EnvironmentState) -> Probes:
    """The kernels by library; none without a survey."""
    return {} if state.survey is None else state.survey.captured.probe


def gather(
    before: EnvironmentState,
    after: EnvironmentState,
    used: Mapping[str, Scope],
    cells: Sequence[GoldenCell],
    installed: frozenset[str] = frozenset(),
) -> Evidence:
    """The evidence of two states' probes and of the golden cells that were run again.

    `used` are the libraries of every golden cell of the environment (`used_libraries`), run again or not; `installed`
    is what `computing` says.
    """
    if before.survey is None or after.survey is None:
        kernels: dict[str, tuple[str, ...]] = {}
        compared: frozenset[str] = frozenset()
    else:
        old, new = probes_of(before), probes_of(after)
        names = sorted(old.keys() | new.keys())
        found = {name: _differing(old.get(name, {}), new.get(name, {})) for name in names}
        kernels = {name: differing for name, differing in found.items() if differing}
        compared = frozenset(name for name in names if old.get(name) and new.get(name))
    golden = [GoldenEvidence(cell.path, cell.answer, used.get(cell.path)) for cell in cells]
    repeated = {cell.path for cell in cells}
    golden += [GoldenEvidence(path, Answer.NOT_TESTED, used[path]) for path in used if path not in repeated]
    return Evidence(kernels, compared, tuple(golden), installed)


def probe_differences(before: EnvironmentState, after: EnvironmentState) -> tuple[Difference, ...]:
    """Every kernel that gives other bits or is there on one side alone; none where a side has no survey."""
    if before.survey is None or after.survey is None:
        return ()
    old, new = probes_of(before), probes_of(after)
    return tuple(
        simple(Layer.PROBE, f"{library}/{kernel}", old.get(library, {}).get(kernel), new.get(library, {}).get(kernel))
        for library in sorted(old.keys() | new.keys())
        for kernel in _differing(old.get(library, {}), new.get(library, {}))
    )


def probed(before: EnvironmentState, after: EnvironmentState) -> dict[str, int]:
    """How many kernels were held against each other, by library; one that a side lacks counts, as it is a change."""
    if before.survey is None or after.survey is None:
        return {}
    old, new = probes_of(before), probes_of(after)
    return {name: len(old.get(name, {}).keys() | new.get(name, {}).keys()) for name in sorted(old.keys() | new.keys())}


def golden_differences(cells: Sequence[GoldenCell]) -> tuple[Difference, ...]:
    """Every golden cell whose outputs are other bits now."""
    return tuple(
        simple(Layer.GOLDEN, cell.path, cell.before, cell.after)
        for cell in sorted(cells, key=lambda cell: cell.path)
        if cell.answer is Answer.CHANGED
    )


def golden_path(golden: Golden, result: GoldenResult) -> str:
    """What `GoldenCell.path` calls a cell of the baseline."""
    return "/".join((golden.experiment, result.target, result.view, result.symbol or "all", result.family))


def golden_names(goldens: Sequence[Golden]) -> tuple[GoldenName, ...]:
    """Every cell that golden runs of a baseline hold."""
    return tuple(
        GoldenName(
            experiment=golden.experiment,
            target=result.target,
            family=result.family,
            path=golden_path(golden, result),
        )
        for golden in goldens
        for result in golden.cells
    )


def scope_of(rule: Rule, path: str, installed: frozenset[str]) -> Scope:
    """The libraries whose numbers a change can move by its rule.

    Of those that a rule lists, only what is `installed` has numbers; where none is, nothing could look at any. A wheel
    moves the numbers of the library that it holds besides.
    """
    match rule.moves:
        case Moves.ALL:
            return None
        case Moves.NONE:
            return frozenset()
        case Moves.OWN:
            return frozenset({library_of(path)})
    listed = frozenset(rule.moves)
    held = frozenset({library_of(path)}) if rule.layer is Layer.WHEEL else frozenset()
    return (listed & installed or listed) | held


def used_libraries(goldens: Sequence[Golden], probes: Probes) -> dict[str, Scope]:
    """The libraries that each golden cell's family is probed with, by the cell's path; null where it cannot be told.

    A cell's group holds only the digest over their kernels, so the set whose kernels give that digest is looked for;
    where there is none, the family's own name says it for those that come with the harness.
    """
    known: dict[tuple[str, str | int | None], Scope] = {}
    used = {}
    for golden in goldens:
        for result in golden.cells:
            key = (result.family, result.group.get("probe_signature"))
            if key not in known:
                known[key] = _libraries_of(*key, probes)
            used[golden_path(golden, result)] = known[key]
    return used


def _libraries_of(family: str, wanted: str | int | None, probes: Probes) -> Scope:
    library = BUILT_IN_FAMILIES.get(family)
    guess = {ALWAYS_PROBED, library} & probes.keys() if library else set()
    for names in _subsets(sorted(probes), frozenset(guess)):
        if probe_signature(names, probes) == wanted:
            return names
    return frozenset({ALWAYS_PROBED, library}) if library else None


def probe_signature(libraries: frozenset[str], probes: Probes) -> Digest:
    """As a run signs the kernels of its family's libraries (`harness.training.families`)."""
    return signature({library: dict(probes.get(library, {})) for library in libraries})


def _subsets(names: Sequence[str], first: frozenset[str]) -> "list[frozenset[str]]":
    """The sets of libraries worth a try: the likely one, then those with NumPy, smallest first."""
    others = [name for name in names if name != ALWAYS_PROBED]
    likely = [first] if first else []
    if len(others) > 8 or not names:
        return likely
    base = frozenset({ALWAYS_PROBED})
    return likely + [base | set(more) for size in range(len(others) + 1) for more in combinations(others, size)]


def _differing(before: Mapping[str, Digest], after: Mapping[str, Digest]) -> tuple[str, ...]:
    return tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
