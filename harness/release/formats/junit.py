"""The report as JUnit XML: a suite an environment, a case a golden target, and one for each of the answers.

What was not tested is skipped, with the reason: it is never a pass.
"""

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import msgspec

from harness.release.formats.sentences import advice, verdict
from harness.release.formats.text import visible
from harness.release.report import NUMBERS, Answer, Change, DriftReport, EnvironmentDrift, GoldenCell, WaiverState
from harness.release.waivers import needs_waiver


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
        suites = [(drift.name, _cases(drift)) for drift in report.environments]
        if report.waivers:
            suites.append(("waivers", [_waiver_case(report, index) for index in range(len(report.waivers))]))
        suites.append(("drift", [_verdict_case(report)]))
        root = Element("testsuites", name=visible(f"drift against {report.baseline}"))
        for name, cases in suites:
            suite = SubElement(root, "testsuite", name=visible(name), timestamp=visible(report.created_at))
            _count(suite, cases)
            for case in cases:
                _write(suite, case)
        _count(root, [case for _, cases in suites for case in cases])
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _cases(drift: EnvironmentDrift) -> list[Case]:
    environment = [change for change in drift.changes if change.layer not in NUMBERS]
    numbers = [change for change in drift.changes if change.layer in NUMBERS]
    cases = [
        _answer_case(drift, "environment", drift.environment, environment),
        _answer_case(drift, "numbers", drift.numbers, numbers),
    ]
    targets: dict[tuple[str, str], list[GoldenCell]] = {}
    for cell in drift.golden:
        targets.setdefault((cell.experiment, cell.target), []).append(cell)
    by_path = {change.path: change for change in numbers}
    cases += [_golden_case(drift.name, key, cells, by_path) for key, cells in targets.items()]
    for missing in drift.not_tested:
        cases.append(Case(drift.name, f"not tested: {missing.what}", "skipped", missing.reason))
    return cases


def _answer_case(drift: EnvironmentDrift, name: str, answer: Answer, changes: list[Change]) -> Case:
    lines = tuple(_line(change) for change in changes)
    failing = sum(needs_waiver(change) for change in changes)
    if failing or (answer is Answer.CHANGED and not changes):
        return Case(drift.name, name, "failure", f"{name} changed: {failing or 'unnamed'} failing", lines)
    if answer is Answer.NOT_TESTED:
        reasons = "; ".join(f"{item.what}: {item.reason}" for item in drift.not_tested)
        return Case(drift.name, name, "skipped", f"not tested: {reasons or 'no reason given'}", lines)
    return Case(drift.name, name, None, "", (f"{name} {answer.value}", *lines))


def _golden_case(suite: str, key: tuple[str, str], cells: list[GoldenCell], by_path: dict[str, Change]) -> Case:
    name = f"golden {key[0]} {key[1]}"
    lines = tuple(
        f"{cell.path}: {cell.answer.value}" + (f" ({'; '.join(cell.reasons)})" if cell.reasons else "")
        for cell in cells
    )
    changed = [cell for cell in cells if cell.answer is Answer.CHANGED]
    failing = [cell for cell in changed if cell.path not in by_path or needs_waiver(by_path[cell.path])]
    untested = [cell for cell in cells if cell.answer is Answer.NOT_TESTED]
    if failing:
        return Case(suite, name, "failure", f"{len(failing)} of {len(cells)} cells changed", lines)
    if untested:
        reason = "; ".join(dict.fromkeys(reason for cell in untested for reason in cell.reasons))
        return Case(suite, name, "skipped", f"not tested: {reason or 'no reason given'}", lines)
    return Case(suite, name, None, "", lines)


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
    outcome = {0: None, 1: "failure", 3: "skipped"}.get(report.exit_code, "error")
    return Case("drift", "verdict", outcome, verdict(report), (advice(report), f"exit code {report.exit_code}"))


def _line(change: Change) -> str:
    before, after = change.before or "-", change.after or "-"
    fate = "fails"
    if change.waived_by is not None:
        fate = f"waived by {change.waived_by}"
    elif not needs_waiver(change):
        fate = f"follows from {', '.join(change.follows_from)}" if change.follows_from else "reported"
    severity = change.severity.value
    return f"{change.name}: {change.kind.value} {before} -> {after} (severity {severity}, {fate}): {change.why}"


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
