"""The report as JUnit XML: a suite an environment, a case a golden target, and one for each of the answers.

Every target that the baseline has a golden run of has its case, run again or not. What was not tested is skipped, with
the reason: it is never a pass.
"""

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import msgspec

from harness.release.formats.fate import fails, fate
from harness.release.formats.names import label
from harness.release.formats.sentences import advice, expired_sentence, unbaselined_sentence, unprobed_sentence, verdict
from harness.release.formats.text import count, visible
from harness.release.report import (
    NUMBERS,
    Answer,
    Change,
    DriftReport,
    EnvironmentDrift,
    GoldenCell,
    Purpose,
    WaiverState,
)

NOT_ASKED_FOR = "not run again: harness drift --golden does that"


class Case(msgspec.Struct, frozen=True):
    """One case: `outcome` is null for a pass, else `failure`, `skipped` or `error`; `lines` are what is behind it."""

    suite: str
    name: str
    outcome: str | None = None
    message: str = ""
    lines: tuple[str, ...] = ()


class JunitFormat:
    """JUnit XML as CI servers read it."""

    name = "junit"

    def render(self, report: DriftReport) -> str:
        """The suites: one an environment, one for waivers where there are any, and one for the check as a whole."""
        purpose = report.purpose
        suites = [(label(drift, purpose), _cases(drift, purpose)) for drift in report.environments]
        if report.waivers:
            suites.append(("waivers", [_waiver_case(report, index) for index in range(len(report.waivers))]))
        suites.append((purpose.value, [_verdict_case(report)]))
        root = Element("testsuites", name=visible(f"{purpose.value} against {report.baseline}"))
        for name, cases in suites:
            suite = SubElement(root, "testsuite", name=visible(name), timestamp=visible(report.created_at))
            _count(suite, cases)
            for case in cases:
                _write(suite, case)
        _count(root, [case for _, cases in suites for case in cases])
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _cases(drift: EnvironmentDrift, purpose: Purpose) -> list[Case]:
    suite = label(drift, purpose)
    environment = [change for change in drift.changes if change.layer not in NUMBERS]
    numbers = [change for change in drift.changes if change.layer in NUMBERS]
    cases = [_environment_case(suite, drift, environment, purpose), _numbers_case(suite, drift, numbers, purpose)]
    targets: dict[tuple[str, str], list[GoldenCell]] = {
        (name.experiment, name.target): [] for name in drift.known_golden
    }
    for cell in drift.golden:
        targets.setdefault((cell.experiment, cell.target), []).append(cell)
    for (experiment, target), cells in targets.items():
        name = f"golden {experiment} {target}"
        if cells:
            by_path = {change.path: change for change in numbers}
            cases.append(_golden_case(suite, name, cells, by_path, drift, purpose))
        else:
            paths = [each.path for each in drift.known_golden if (each.experiment, each.target) == (experiment, target)]
            lines = tuple(f"{path}: not run again{_ended(path, drift)}" for path in paths)
            cases.append(Case(suite, name, "skipped", _why_not_run(drift, experiment), lines))
    cases += [Case(suite, f"not tested: {item.what}", "skipped", item.reason) for item in drift.not_tested]
    return cases


def _environment_case(suite: str, drift: EnvironmentDrift, changes: list[Change], purpose: Purpose) -> Case:
    lines = tuple(_line(change, purpose) for change in changes)
    if expired := expired_sentence(drift, purpose):
        lines = (*lines, expired)
    failing = sum(fails(change, purpose) for change in changes)
    unnamed = drift.environment is Answer.CHANGED and not changes and purpose is not Purpose.REHEARSAL
    if failing or unnamed:
        return Case(suite, "environment", "failure", f"environment changed: {failing or 'unnamed'} failing", lines)
    return _unfailed(suite, "environment", drift, drift.environment, lines)


def _numbers_case(suite: str, drift: EnvironmentDrift, changes: list[Change], purpose: Purpose) -> Case:
    lines = tuple(_line(change, purpose) for change in changes)
    if unprobed := unprobed_sentence(drift):
        lines = (*lines, unprobed)
    failing = sum(fails(change, purpose) for change in changes)
    if failing or (drift.numbers is Answer.CHANGED and not changes):
        said = f"numbers changed: {failing or 'unnamed'} failing"
        if purpose is Purpose.REHEARSAL:
            said = f"numbers would change: {count(failing, 'number') if failing else 'unnamed'}"
        return Case(suite, "numbers", "failure", said, lines)
    return _unfailed(suite, "numbers", drift, drift.numbers, lines)


def _unfailed(suite: str, name: str, drift: EnvironmentDrift, answer: Answer, lines: tuple[str, ...]) -> Case:
    if answer is Answer.NOT_TESTED:
        reasons = "; ".join(f"{item.what}: {item.reason}" for item in drift.not_tested)
        return Case(suite, name, "skipped", f"not tested: {reasons or 'no reason given'}", lines)
    return Case(suite, name, None, "", (f"{name} {answer.value}", *lines))


def _golden_case(
    suite: str,
    name: str,
    cells: list[GoldenCell],
    by_path: dict[str, Change],
    drift: EnvironmentDrift,
    purpose: Purpose,
) -> Case:
    lines = tuple(
        f"{cell.path}: {cell.answer.value}"
        + (f" ({'; '.join(cell.reasons)})" if cell.reasons else "")
        + _ended(cell.path, drift)
        for cell in cells
    )
    changed = [cell for cell in cells if cell.answer is Answer.CHANGED]
    failing = [cell for cell in changed if cell.path not in by_path or fails(by_path[cell.path], purpose)]
    untested = [cell for cell in cells if cell.answer is Answer.NOT_TESTED]
    if failing:
        return Case(suite, name, "failure", f"{len(failing)} of {len(cells)} cells changed", lines)
    if untested:
        reason = "; ".join(dict.fromkeys(reason for cell in untested for reason in cell.reasons))
        return Case(suite, name, "skipped", f"not tested: {reason or 'no reason given'}", lines)
    return Case(suite, name, None, "", lines)


def _why_not_run(drift: EnvironmentDrift, experiment: str) -> str:
    """Why no cell of a golden run was looked at: what was said of it, else of an environment that could not be run."""
    said = [item.reason for item in drift.not_tested if item.what == f"golden {experiment}"]
    if not said and drift.measured_at is None:
        said = [item.reason for item in drift.not_tested]
    return f"not tested: {'; '.join(dict.fromkeys(said))}" if said else NOT_ASKED_FOR


def _ended(path: str, drift: EnvironmentDrift) -> str:
    return "; its comparison group ends" if any(group.golden == path for group in drift.expired) else ""


def _waiver_case(report: DriftReport, index: int) -> Case:
    waiver = report.waivers[index]
    text = f"{waiver.state.value}: {waiver.detail}"
    lines = (f"{waiver.reason} ({waiver.author}, until {waiver.expires})",)
    match waiver.state:
        case WaiverState.USED:
            return Case("waivers", waiver.id, None, "", (text, *lines))
        case WaiverState.NOT_EXAMINED:
            return Case("waivers", waiver.id, "skipped", text, lines)
    return Case("waivers", waiver.id, "failure", text, lines)


def _verdict_case(report: DriftReport) -> Case:
    outcome = {0: None, 1: "failure"}.get(report.exit_code, "skipped")
    said = (advice(report), unbaselined_sentence(report), f"exit code {report.exit_code}")
    return Case(report.purpose.value, "verdict", outcome, verdict(report), tuple(line for line in said if line))


def _line(change: Change, purpose: Purpose) -> str:
    before, after = change.before or "-", change.after or "-"
    judged = f"severity {change.severity.value}, {fate(change, purpose, most=len(change.follows_from))}"
    return f"{change.name}: {change.kind.value} {before} -> {after} ({judged}): {change.why}"


def _write(suite: Element, case: Case) -> None:
    element = SubElement(suite, "testcase", classname=visible(case.suite), name=visible(case.name))
    text = "\n".join(visible(line) for line in case.lines)
    if case.outcome is None:
        SubElement(element, "system-out").text = text
    else:
        SubElement(element, case.outcome, message=visible(case.message), type=case.outcome).text = text


def _count(element: Element, cases: Iterable[Case]) -> None:
    outcomes = [case.outcome for case in cases]
    element.set("tests", str(len(outcomes)))
    for name, outcome in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(outcomes.count(outcome)))
