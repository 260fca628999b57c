"""One environment of the baseline against a candidate: what changed, what it follows from, and what it means."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.record.hashing import signature
from harness.release.baseline import Golden
from harness.release.causes import follows_from
from harness.release.changes import Difference, differences, in_order, simple
from harness.release.entries import WHEEL_LAYER, flatten
from harness.release.expiry import Expiry
from harness.release.location import Locator
from harness.release.numbers import (
    Evidence,
    Scope,
    computing,
    gather,
    golden_differences,
    probe_differences,
    probed,
    probes_of,
    scope_of,
    unknown_to_probes,
    used_libraries,
)
from harness.release.report import (
    ELSEWHERE,
    NUMBERS,
    Answer,
    Change,
    EnvironmentDrift,
    GoldenCell,
    Layer,
    NotTested,
    Severity,
)
from harness.release.rules import Moves, Rule, Rules
from harness.release.state import EnvironmentState
from harness.spec.digest import Digest

RUNNING = "what only a running environment shows: hardware, kernel, driver, libraries, variables, settings, numbers"
"""What is not tested where a side was not surveyed."""


class _Findings(msgspec.Struct, frozen=True):
    """All differences with what was found out about them, by name."""

    all: tuple[Difference, ...]
    rules: dict[str, Rule]
    scopes: dict[str, Scope]
    follows: dict[str, tuple[str, ...]]
    evidence: Evidence

    def numbers(self, difference: Difference) -> Answer | None:
        """Whether numbers moved with a change; None where it cannot move any."""
        if difference.layer in NUMBERS:
            return Answer.CHANGED
        if self.rules[difference.name].moves is Moves.NONE:
            return None
        if difference.layer is Layer.CODE:
            return self.evidence.answer_of_golden_runs()
        return self.evidence.answer(self.scopes[difference.name])

    def behind(self, difference: Difference) -> tuple[str, ...]:
        """The kernels and golden cells that changed where this change can move them."""
        if difference.layer in NUMBERS:
            return (difference.path,)
        return () if self.numbers(difference) is None else self.evidence.about(self.scopes[difference.name])


def assess(
    before: EnvironmentState,
    after: EnvironmentState,
    *,
    rules: Rules,
    code: tuple[Digest, Digest],
    goldens: Sequence[Golden],
    golden_cells: Sequence[GoldenCell],
    golden_not_tested: Sequence[NotTested],
    stored: Callable[[Digest], tuple[str, ...]],
    measured_at: str | None,
    root: Path,
) -> EnvironmentDrift:
    """The drift of one environment from the baseline's state `before` to the candidate's `after`.

    `code` are the digests of the rooms that run inside, the baseline's and the present one. `goldens` are the
    baseline's of this environment, `golden_cells` those run again. `stored` names the complete runs here that hold a
    cell of a comparison group. `root` is the checkout whose files changes are located in. Pure, but for reading those.
    """
    used = used_libraries(goldens, probes_of(before))
    evidence = gather(before, after, used, golden_cells, computing(before, after, rules))
    findings = _find(before, after, rules, code, evidence, used, golden_cells)
    expires, attributed = _expiries(findings, expiry := Expiry(before, after, goldens, used))
    locator = Locator(root, after.sources.spec.name)
    changes = tuple(
        _change(difference, (before.name, after.name), findings, expires[difference.name], locator)
        for difference in findings.all
    )
    numbers, tested_by = _numbers(findings, changes, golden_cells)
    unsurveyed = _unsurveyed(before, after)
    not_tested = (*unsurveyed, *_untested(findings, changes, surveyed=not unsurveyed), *golden_not_tested)
    return EnvironmentDrift(
        name=before.name,
        candidate=after.name,
        environment=_environment(changes, surveyed=not unsurveyed),
        numbers=numbers,
        tested_by=tested_by,
        not_tested=(*not_tested, *_untested_cells(golden_cells, golden_not_tested)),
        changes=changes,
        golden=tuple(golden_cells),
        expired=expiry.total(stored, attributed),
        measured_at=measured_at,
        probed=probed(before, after),
        unprobed=tuple(sorted(unknown_to_probes(evidence.installed))),
    )


def _find(
    before: EnvironmentState,
    after: EnvironmentState,
    rules: Rules,
    code: tuple[Digest, Digest],
    evidence: Evidence,
    used: Mapping[str, Scope],
    cells: Sequence[GoldenCell],
) -> _Findings:
    surveyed = before.survey is not None and after.survey is not None
    environment = differences(flatten(before, surveyed=surveyed), flatten(after, surveyed=surveyed))
    if code[0] != code[1]:
        environment = in_order((*environment, simple(Layer.CODE, "inside", *code)))
    numbers = (*probe_differences(before, after), *golden_differences(cells))
    found = (*environment, *numbers)
    judged = {item.name: rules.judge(item.layer, item.path, item.kind) for item in found}
    scopes = {item.name: scope_of(judged[item.name], item.path, evidence.installed) for item in found}
    own_layers = _own_layers(before) & _own_layers(after)
    harmless = [name for name, rule in judged.items() if rule.severity is Severity.NONE]
    follows = follows_from(environment, own_layers=own_layers, harmless=harmless)
    movers = [item for item in environment if item.name not in follows and judged[item.name].moves is not Moves.NONE]
    because = {cell.path: cell.because_of for cell in cells}
    for number in numbers:
        scope = _scope_of_number(number, used)
        causes = [
            item for item in movers if _may_move(item, scopes[item.name], number, scope, because.get(number.path))
        ]
        if causes:
            follows[number.name] = tuple(item.name for item in causes)
    return _Findings(found, judged, scopes, follows, evidence)


def _scope_of_number(number: Difference, used: Mapping[str, Scope]) -> Scope:
    return frozenset({number.path.partition("/")[0]}) if number.layer is Layer.PROBE else used.get(number.path)


def _may_move(item: Difference, scope: Scope, number: Difference, libraries: Scope, because_of: str | None) -> bool:
    """Whether a change can be behind a number that moved, which is of these libraries.

    Where the baseline's own environment no longer gives its golden bits either, no change of what is in it can. Who
    uses a library that no probe knows is not known, so any golden cell may.
    """
    if because_of == ELSEWHERE and item.layer not in (Layer.CODE, Layer.HARDWARE, Layer.DRIVER, Layer.KERNEL):
        return False
    if scope is None or libraries is None or scope & libraries:
        return True
    return number.layer is Layer.GOLDEN and bool(unknown_to_probes(scope))


def _own_layers(state: EnvironmentState) -> frozenset[str]:
    """The wheels that have a layer of the image to themselves."""
    image = state.sources.image
    names = () if image is None else (layer.name for layer in image.layers)
    return frozenset(name.removeprefix(WHEEL_LAYER) for name in names if name.startswith(WHEEL_LAYER))


def _expiries(findings: _Findings, expiry: Expiry) -> tuple[dict[str, frozenset[Digest]], frozenset[Digest]]:
    """The groups that end with each change: its own, and for a root those of what follows from it; and all together."""
    expires = {item.name: expiry.of(item) for item in findings.all}
    own = dict(expires)
    for name, roots in findings.follows.items():
        for root in roots:
            expires[root] |= own[name]
    return expires, frozenset().union(*own.values())


def _change(
    item: Difference, names: tuple[str, str], findings: _Findings, expires: frozenset[Digest], locator: Locator
) -> Change:
    """`names` are those of the baseline's environment and of the candidate, whose own changes stay apart."""
    environment, candidate = names
    place = [environment] if candidate == environment else [environment, candidate]
    rule, numbers = findings.rules[item.name], findings.numbers(item)
    return Change(
        environment=environment,
        layer=item.layer,
        path=item.path,
        kind=item.kind,
        before=item.before,
        after=item.after,
        severity=rule.severity,
        why=rule.why,
        can_move_numbers=numbers is not None,
        numbers=numbers,
        evidence=findings.behind(item),
        expires=tuple(sorted(expires)),
        follows_from=findings.follows.get(item.name, ()),
        location=locator.locate(item),
        fingerprint=signature([*place, item.layer, item.path, item.kind, item.before, item.after]),
    )


def _environment(changes: Sequence[Change], *, surveyed: bool) -> Answer:
    if any(change.layer not in NUMBERS for change in changes):
        return Answer.CHANGED
    return Answer.UNCHANGED if surveyed else Answer.NOT_TESTED


def _numbers(
    findings: _Findings, changes: Sequence[Change], cells: Sequence[GoldenCell]
) -> tuple[Answer, tuple[str, ...]]:
    """Whether numbers moved, and what that rests on. What could have moved them and was not tested is no pass."""
    evidence = findings.evidence
    ran = any(cell.answer is not Answer.NOT_TESTED for cell in cells)
    tested_by = (*(["probe"] if evidence.compared else []), *(["golden"] if ran else []))
    if any(change.layer in NUMBERS for change in changes):
        return Answer.CHANGED, tested_by
    untested = any(change.numbers is Answer.NOT_TESTED and not change.follows_from for change in changes)
    partly = _unseen_by_probes(evidence)
    return Answer.NOT_TESTED if untested or partly or not evidence.compared else Answer.UNCHANGED, tested_by


def _unseen_by_probes(evidence: Evidence) -> list[str]:
    """The installed libraries that the probe has kernels of, and that were not compared all the same."""
    return sorted(evidence.installed - unknown_to_probes(evidence.installed) - evidence.compared)


def _unsurveyed(before: EnvironmentState, after: EnvironmentState) -> tuple[NotTested, ...]:
    said = [
        f"the {side} was not run: {state.unsurveyed or 'no reason was recorded'}"
        for side, state in (("baseline", before), ("candidate", after))
        if state.survey is None
    ]
    return (NotTested(RUNNING, "; ".join(said)),) if said else ()


def _untested(findings: _Findings, changes: Sequence[Change], *, surveyed: bool) -> tuple[NotTested, ...]:
    """The numbers that a change may have moved and that nothing looked at."""
    found = [
        NotTested(f"numbers behind {change.name}", _why_untested(change, findings))
        for change in changes
        if change.numbers is Answer.NOT_TESTED and not change.follows_from and (surveyed or change.layer is Layer.CODE)
    ]
    if surveyed and (unseen := _unseen_by_probes(findings.evidence)):
        found.append(NotTested(f"numbers of {', '.join(unseen)}", "a side's probe did not look at what is installed"))
    return tuple(found)


def _why_untested(change: Change, findings: _Findings) -> str:
    if change.layer is Layer.CODE:
        return "only a golden run can tell: check with --golden"
    libraries = findings.evidence.untested(findings.scopes[change.name])
    return f"no probe and no golden run that was repeated looks at {', '.join(libraries)}: check with --golden"


def _untested_cells(cells: Sequence[GoldenCell], said: Sequence[NotTested]) -> tuple[NotTested, ...]:
    """The golden cells without an answer, where it was not said already."""
    return tuple(
        NotTested(f"golden {cell.path}", "; ".join(cell.reasons) or "it was not run")
        for cell in cells
        if cell.answer is Answer.NOT_TESTED and not any(cell.path in item.what for item in said)
    )
