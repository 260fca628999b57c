"""What is said of a drift check, sentence by sentence: the verdict, the answers, what to do next."""

from harness.release.formats.text import count, listed, shown
from harness.release.report import NUMBERS, Answer, DriftReport, EnvironmentDrift, Layer, WaiverState
from harness.release.waivers import needs_waiver

FAILING_WAIVERS = frozenset({WaiverState.EXPIRED, WaiverState.UNMATCHED})


def verdict(report: DriftReport) -> str:
    """The check in one line."""
    names = listed([shown(drift.name) for drift in report.environments if _fails(drift)])
    broken = sum(waiver.state in FAILING_WAIVERS for waiver in report.waivers)
    broken_waivers = f"{count(broken, 'waiver')} {'does' if broken == 1 else 'do'} not hold"
    match report.exit_code:
        case 0 if any(drift.changes for drift in report.environments):
            return "No drift that fails: every change is waived, or harmless by the rules."
        case 0:
            return "No drift."
        case 1 if names and broken:
            return f"Drift in {names}, and {broken_waivers}."
        case 1 if broken:
            return f"No drift that is not waived, but {broken_waivers}."
        case 1:
            return f"Drift in {names}." if names else "Drift."
        case 3:
            return "Nothing failed, but not all was tested: this is not a pass."
        case 4:
            return "Something is not what its digest says, or a control failed: nothing here can be relied on."
        case code:
            return f"The check could not be finished (code {code})."


def advice(report: DriftReport) -> str:
    """What to do next, in one sentence."""
    match report.exit_code:
        case 0:
            return "Nothing to do."
        case 1 if any(_fails(drift) for drift in report.environments):
            return "Undo each change that fails, waive it with a reason, or release a new baseline: see docs/drift.md."
        case 1:
            return "Renew or remove the waivers that do not hold: see docs/drift.md."
        case 3:
            return "Test what was not tested, on a machine that can, and check again: see docs/drift.md."
        case _:
            return "Find out what was altered before anything is released: see docs/drift.md."


def environment_sentence(drift: EnvironmentDrift) -> str:
    """Whether the environment changed."""
    match drift.environment:
        case Answer.UNCHANGED:
            return "The environment did not change."
        case Answer.NOT_TESTED:
            return "Whether the environment changed was not tested."
    changes = [change for change in drift.changes if change.layer not in NUMBERS and not change.follows_from]
    failing = sum(needs_waiver(change) for change in changes)
    waived = sum(change.waived_by is not None for change in changes)
    found = f"The environment changed: {count(len(changes), 'change')}, {failing:,} failing"
    return f"{found}, {waived:,} waived." if waived else f"{found}."


def numbers_sentence(drift: EnvironmentDrift) -> str:
    """Whether the numbers changed, and what that rests on."""
    by = " and ".join(shown(test) for test in drift.tested_by)
    match drift.numbers:
        case Answer.UNCHANGED:
            return f"The numbers did not change (tested by {by})." if by else "The numbers did not change."
        case Answer.NOT_TESTED:
            return "Whether the numbers changed was not tested."
    kernels = sum(change.layer is Layer.PROBE for change in drift.changes)
    cells = sum(cell.answer is Answer.CHANGED for cell in drift.golden)
    found = [count(kernels, "probe kernel")] if kernels else []
    if drift.golden:
        found.append(f"{cells:,} of {count(len(drift.golden), 'golden cell')}")
    return f"The numbers changed: {' and '.join(found) or 'see below'}."


def golden_sentence(drift: EnvironmentDrift) -> str:
    """How the golden cells came out; empty where none was looked at."""
    if not drift.golden:
        return ""
    found = [cell.answer for cell in drift.golden]
    counts = ", ".join(f"{found.count(answer):,} {answer.value}" for answer in Answer if answer in found)
    return f"{count(len(found), 'golden cell')}: {counts}."


def expired_sentence(drift: EnvironmentDrift) -> str:
    """What can no longer be compared; empty where nothing expired."""
    if not drift.expired:
        return ""
    runs = {run for group in drift.expired for run in group.stored_runs}
    return (
        f"{count(len(drift.expired), 'comparison group')} of the baseline expired: {count(len(runs), 'stored run')}"
        " cannot be compared with what runs from now on."
    )


def _fails(drift: EnvironmentDrift) -> bool:
    unexplained = drift.numbers is Answer.CHANGED and not any(change.layer in NUMBERS for change in drift.changes)
    return unexplained or any(needs_waiver(change) for change in drift.changes)
